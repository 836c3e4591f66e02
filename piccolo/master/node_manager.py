"""Node manager (LLD 2.1, 2.2: `node/manager`, `registry`, `status`): who belongs to the cluster,
and in which state each node is.

Registration is validate → admit → store → reply, and idempotent: the agent chose its id, so a
repeated request finds the node it made. All transitions go through `core.nodes.states`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from piccolo.config.settings import Discovery, ListedNode
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from piccolo.core.model import (
    Condition,
    Facts,
    Node,
    NodeState,
    NodeStatus,
    NodeType,
    Resources,
    Severity,
)
from piccolo.core.nodes.states import Fault, Health, Transition, Trigger, settle, step
from piccolo.core.selectors import check_labels
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.registration import MAX_LABELS, Registration
from piccolo.master.state_manager import StateManager


class NodeManager:
    """`Node`s are changed by `commit` only, one at a time, their `NodeStatus` by `observe` only."""

    def __init__(self, state: StateManager, events: EventLog, clock: Clock) -> None:
        self._state = state
        self._events = events
        self._clock = clock
        self._discovery = Discovery.ANY
        self._listed: Mapping[str, ListedNode] = {}
        self._changing = asyncio.Lock()  # from reading a node to having written it
        self._health: dict[str, Health] = {
            n.id: _health_of(state.status(n.id)) for n in state.nodes()
        }

    def health(self, node_id: str) -> Health:
        return self._health.get(node_id, Health())

    # ---- membership ----

    async def configure(self, discovery: Discovery, listed: Iterable[ListedNode]) -> None:
        """Take over `node.yaml`; nodes that wait and are now let in go on."""
        self._discovery = discovery
        self._listed = {n.name: n for n in listed}
        async with self._changing:
            for node in self._state.nodes():
                await self._change(self._as_listed(node))

    def _as_listed(self, node: Node) -> Node:
        """`node` with what `node.yaml` says of it, and admitted if the policy lets it in."""
        entry = self._listed.get(node.name)
        if entry is not None:
            node = replace(
                node,
                role=entry.role,
                type=entry.type,
                link_profile=entry.link,
                labels={**node.labels, **entry.labels},
            )
        admitted = (
            node.admitted
            or entry is not None
            or self._discovery is Discovery.ANY
            or (self._discovery is Discovery.CLOUD and node.type is NodeType.CLOUD)
        )
        return replace(node, admitted=admitted)

    async def _write(
        self, node_id: str, new: Node | None, also: Mapping[str, object | None] | None = None
    ) -> None:
        """With `also`, in one transaction. Raises `Unavailable`. Conditional, so that an earlier
        write whose outcome is unknown cannot undo this one when it comes through late.
        """
        key = keys.node(node_id)
        if new == self._state.node(node_id) and not also:
            return
        try:
            values = {key: new, **(also or {})}
            await self._state.commit(values, {key: self._state.revision_of(key)})
        except Conflict as error:  # such a write came through, and we have not seen it yet
            raise Unavailable(f"the store is catching up, try again: {error}") from error

    async def _change(self, new: Node) -> None:
        """Write a node, and let its state follow."""
        await self._write(new.id, new)
        self.settle(new.id)

    def listed(self, name: str) -> ListedNode | None:
        """What `node.yaml` says of the node of that name."""
        return self._listed.get(name)

    def validate(self, request: Registration) -> None:
        """Raises `InvalidSpec`."""
        request.check()

    async def register(
        self, request: Registration, also: Mapping[str, object | None] | None = None
    ) -> Node:
        """The node, new or known. Durable when it returns, together with `also`.

        Raises `InvalidSpec`, `Conflict` when the name is another node's, `Unavailable`.
        """
        request.check()
        async with self._changing:
            return await self._register(request, also or {})

    async def _register(self, request: Registration, also: Mapping[str, object | None]) -> Node:
        namesake = self._state.node_named(request.name)
        if namesake is not None and namesake.id != request.node_id:
            connected = self._state.live(namesake.id).connected
            raise Conflict(
                f'the name "{request.name}" belongs to another node (id {namesake.id}), which is'
                f" {'connected now' if connected else 'not connected now'}; choose another with"
                f" --name, or, if that machine was replaced, run: piccolo remove node"
                f" {request.name}"
            )
        known = self._state.node(request.node_id)
        base = known or Node(request.node_id, request.name, created_at=self._clock.utc())
        node = self._as_listed(
            replace(
                base,
                name=request.name,
                role=request.role,
                # Who waits for approval cannot let itself in by calling itself something else.
                type=request.type if known is None or known.admitted else known.type,
                labels=_with_news(base.labels, base.told_labels, request.labels),
                told_labels=request.labels,
                link_profile=request.link or base.link_profile,
            )
        )
        await self._write(node.id, node, also)
        listed = self._listed.get(request.name)
        ip = (listed.ip if listed else "") or request.ip
        if known is None and ip != request.ip:
            text = f"node.yaml has {ip}, the agent speaks from {request.ip}; the former is shown"
            self._event(node, Severity.WARNING, "AddressDiffers", text)
        told = {"ip": ip, "resources": request.resources, "facts": request.facts}
        if self._state.get(keys.status(node.id), NodeStatus) is None:
            waits = f"waits for approval: piccolo approve {request.name}"
            now = self._clock.utc()
            self._observe(node.id, reason="NotListed", message=waits, since=now, **told)
            self._event(node, Severity.INFO, "Registered", _registered_message(node, request))
        else:
            self._observe(node.id, **told)
        self.settle(node.id)
        return node

    async def approve(self, name_or_id: str) -> Node:
        """Let a Pending node in. Raises `NotFound`, `Conflict` when it is not Pending."""
        async with self._changing:
            node = self._state.find_node(name_or_id)
            state = self._state.status(node.id).state
            if state is not NodeState.PENDING:
                raise Conflict(f"node {node.name} is {state}, it needs no approval")
            approved = replace(node, admitted=True)
            await self._change(approved)
            return approved

    async def label(
        self, name_or_id: str, put: Mapping[str, str], remove: Iterable[str], overwrite: bool
    ) -> Node:
        """Change labels. Raises `Conflict` for one that has another value, without `overwrite`."""
        check_labels(put)
        async with self._changing:
            node = self._state.find_node(name_or_id)
            for key, value in put.items():
                if not overwrite and node.labels.get(key, value) != value:
                    raise Conflict(
                        f"node {node.name} has the label {key}={node.labels[key]};"
                        " use --overwrite to change it"
                    )
            gone = set(remove)
            labels = {k: v for k, v in {**node.labels, **put}.items() if k not in gone}
            if len(labels) > MAX_LABELS:
                raise InvalidSpec(f"a node has at most {MAX_LABELS} labels")
            changed = replace(node, labels=labels)
            await self._change(changed)
            return changed

    async def remove(self, name_or_id: str) -> tuple[Node, NodeStatus]:
        """Take a node out of the cluster, with all that is kept of it; returns what it was."""
        async with self._changing:
            node = self._state.find_node(name_or_id)
            await self._write(node.id, None)
        status = self._state.status(node.id)
        last = replace(status, state=step(status.state, Trigger.REMOVED), reason="Removed")
        for container in self._state.containers(node.id):
            self._state.observe(keys.container(node.id, container.id), None)
        for instance in list(self._state.group(keys.instances_of(node.id))):
            self._state.observe(instance, None)
        self._state.observe(keys.agent_events(node.id), None)
        self._state.observe(keys.status(node.id), None)
        self._state.observe(keys.live(node.id), None, durable=False)
        self._state.observe(keys.usage(node.id), None, durable=False)
        self._health.pop(node.id, None)
        self._event(node, Severity.WARNING, "Removed", "taken out of the cluster")
        return node, last

    # ---- state ----

    def fault(self, node_id: str, fault: Fault, message: str) -> None:
        self._health[node_id] = self.health(node_id).with_fault(fault, message)
        self.settle(node_id)

    def fault_over(self, node_id: str, fault: Fault) -> None:
        self._health[node_id] = self.health(node_id).without(fault)
        self.settle(node_id)

    def link_restored(self, node_id: str) -> None:
        self._health[node_id] = self.health(node_id).with_link()
        self.settle(node_id)

    def synced(self, node_id: str, synced: bool) -> None:
        """Whether the master holds the node's full report, over its current session."""
        self._health[node_id] = replace(self.health(node_id), synced=synced)
        self.settle(node_id)

    def settle(self, node_id: str) -> None:
        """Bring the node's state in line with what was decided and with its health."""
        node = self._state.node(node_id)
        if node is None:
            return
        status = self._state.status(node_id)
        if node.admitted and status.state is NodeState.PENDING:
            admitted = step(status.state, Trigger.APPROVED)
            self._move(node, status, Transition(admitted, "Admitted", "joins the cluster"))
            status = self._state.status(node_id)
        transition = settle(status.state, status.reason, self.health(node_id))
        if transition is not None:
            self._move(node, status, transition)

    def _move(self, node: Node, old: NodeStatus, transition: Transition) -> None:
        new = transition.state
        self._observe(
            node.id,
            state=new,
            reason=transition.reason,
            message=transition.message,
            since=self._clock.utc() if new is not old.state else old.since,
        )
        way = f"{old.state} → {new}" if new is not old.state else f"still {new}"
        bad = new is NodeState.NOT_READY
        self._event(
            node,
            Severity.WARNING if bad else Severity.INFO,
            transition.reason,
            f"{way}: {transition.message}",
        )

    def describe(self, node_id: str, facts: Facts, resources: Resources) -> None:
        """Record what the agent says of its machine."""
        self._observe(node_id, facts=facts, resources=resources)

    def condition(self, node_id: str, *conditions: Condition) -> None:
        """Record findings; one that did not change keeps its time."""
        node = self._state.node(node_id)
        if node is None:
            return
        merged = {c.type: c for c in self._state.status(node_id).conditions}
        for new in conditions:
            old = merged.get(new.type)
            since = old.since if old and old.status == new.status else self._clock.utc()
            merged[new.type] = replace(new, since=since)
            good = new.status == (new.type in GOOD_WHEN_TRUE)
            if old.status != new.status if old else not good:
                self._event(
                    node, Severity.INFO if good else Severity.WARNING, new.reason, new.message
                )
        self._observe(node_id, conditions=tuple(merged[t] for t in sorted(merged)))

    def _observe(self, node_id: str, **fields: object) -> None:
        old = self._state.status(node_id)
        new = replace(old, **fields)  # type: ignore[arg-type]
        if new != old:
            self._state.observe(keys.status(node_id), new)

    def _event(self, node: Node, severity: Severity, reason: str, message: str) -> None:
        self._events.add(severity, "node", node.name, reason, message, node.name)


GOOD_WHEN_TRUE = frozenset({"RuntimeReady"})


def _with_news(
    labels: Mapping[str, str], told: Mapping[str, str], tells: Mapping[str, str]
) -> dict[str, str]:
    """`labels` with what the agent now tells otherwise than before: what was changed by hand since
    it came last stays so."""
    dropped = {k for k, v in told.items() if k not in tells and labels.get(k) == v}
    news = {k: v for k, v in tells.items() if told.get(k) != v}
    return {k: v for k, v in labels.items() if k not in dropped} | news


def _registered_message(node: Node, request: Registration) -> str:
    r = request.resources
    return (
        f"{node.role} node at {request.ip}: {request.facts.os or 'unknown system'},"
        f" {r.cpu_cores} cores, {r.memory_mb} MB"
    )


def _health_of(status: NodeStatus) -> Health:
    """What is known of a node's health when the master starts: the reason it was not ready."""
    if status.state is NodeState.NOT_READY and status.reason in set(Fault):
        return Health({Fault(status.reason): status.message})
    return Health()
