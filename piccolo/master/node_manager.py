"""Node manager (LLD 2.1, 2.2: `node/manager`, `registry`, `status`): who belongs to the cluster,
and in which state each node is.

Registration is validate → admit → store → reply, and idempotent: the agent chose its id, so a
repeated request finds the node it made. All transitions go through `core.node_states`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from piccolo.config.settings import Discovery, ListedNode
from piccolo.core.errors import Conflict, InvalidSpec
from piccolo.core.liveness import PROFILES
from piccolo.core.model import (
    Condition,
    Facts,
    Node,
    NodeRole,
    NodeState,
    NodeType,
    Resources,
    Severity,
)
from piccolo.core.node_states import Fault, Health, Transition, Trigger, settle, step
from piccolo.core.selectors import check_labels
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.state_manager import StateManager

_ID = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,62}[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?")
MAX_LABELS = 64


@dataclass(frozen=True, slots=True)
class Registration:
    """A request to join, as it came over the wire."""

    node_id: str
    name: str
    ip: str
    role: NodeRole
    type: NodeType
    resources: Resources
    facts: Facts
    labels: Mapping[str, str]
    link: str = ""


class NodeManager:
    def __init__(self, state: StateManager, events: EventLog, clock: Clock) -> None:
        self._state = state
        self._events = events
        self._clock = clock
        self._discovery = Discovery.ANY
        self._listed: Mapping[str, ListedNode] = {}
        self._health: dict[str, Health] = {n.id: _health_of(n) for n in state.nodes()}

    def health(self, node_id: str) -> Health:
        return self._health.get(node_id, Health())

    # ---- membership ----

    def configure(self, discovery: Discovery, listed: Iterable[ListedNode]) -> None:
        """Take over `node.yaml`; nodes that wait and are now let in go on."""
        self._discovery = discovery
        self._listed = {n.name: n for n in listed}
        for node in self._state.nodes():
            entry = self._listed.get(node.name)
            if entry is not None:
                self._save(node, _listed_fields(entry, node.labels))
            node = self._state.node(node.id) or node
            if node.state is NodeState.PENDING and self._admitted(node.name, node.type):
                self._admit(node)

    def _admitted(self, name: str, node_type: NodeType) -> bool:
        return (
            name in self._listed
            or self._discovery is Discovery.ANY
            or (self._discovery is Discovery.CLOUD and node_type is NodeType.CLOUD)
        )

    async def register(self, request: Registration) -> Node:
        """The node, new or known. Durable when it returns.

        Raises `InvalidSpec`, `Conflict` when the name is another node's, `Unavailable`.
        """
        _validate(request)
        namesake = self._state.node_named(request.name)
        if namesake is not None and namesake.id != request.node_id:
            seen = self._state.live(namesake.id)
            where = "is connected now" if seen.connected else "is not connected now"
            raise Conflict(
                f'the name "{request.name}" belongs to another node (id {namesake.id}), which'
                f" {where}; choose another with --name, or, if that machine was replaced,"
                f" run: piccolo remove node {request.name}"
            )
        known = self._state.node(request.node_id)
        node = self._described(request, known)
        if known is None:
            await self._state.commit({keys.node(node.id): node}, {keys.node(node.id): 0})
            self._event(node, Severity.INFO, "Registered", _registered_message(node))
        elif node != known:
            await self._state.commit({keys.node(node.id): node})
        if node.state is NodeState.PENDING and self._admitted(node.name, node.type):
            node = self._admit(node)
        return node

    def _described(self, request: Registration, known: Node | None) -> Node:
        now = self._clock.utc()
        base = known or Node(
            id=request.node_id,
            name=request.name,
            reason="NotListed",
            message=f"waits for approval: piccolo approve {request.name}",
            since=now,
            created_at=now,
        )
        entry = self._listed.get(request.name)
        labels = {**base.labels, **request.labels}
        told = {
            "name": request.name,
            "ip": request.ip or base.ip,
            "resources": request.resources,
            "facts": request.facts,
            "role": request.role,
            "type": request.type,
            "labels": labels,
            "link_profile": request.link or base.link_profile,
        }
        if entry is not None:
            told |= _listed_fields(entry, labels)
        return replace(base, **told)  # type: ignore[arg-type]

    def _admit(self, node: Node) -> Node:
        return self._move(
            node, Transition(step(node.state, Trigger.APPROVED), "Admitted", "joins the cluster")
        )

    async def approve(self, name_or_id: str) -> Node:
        """Let a Pending node in. Raises `NotFound`, `Conflict` when it is not Pending."""
        node = self._state.find_node(name_or_id)
        if node.state is not NodeState.PENDING:
            raise Conflict(f"node {node.name} is {node.state}, it needs no approval")
        state = step(node.state, Trigger.APPROVED)
        approved = self._with(node, Transition(state, "Approved", "approved by an administrator"))
        await self._state.commit({keys.node(node.id): approved})
        self._event(approved, Severity.INFO, approved.reason, approved.message)
        self.settle(node.id)
        return self._state.node(node.id) or approved

    async def label(
        self, name_or_id: str, put: Mapping[str, str], remove: Iterable[str], overwrite: bool
    ) -> Node:
        """Change labels. Raises `Conflict` for one that has another value, without `overwrite`."""
        node = self._state.find_node(name_or_id)
        check_labels(put)
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
        if changed != node:
            await self._state.commit({keys.node(node.id): changed})
        return changed

    async def remove(self, name_or_id: str) -> Node:
        """Take a node out of the cluster, with all that is kept of it."""
        node = self._state.find_node(name_or_id)
        leaving = self._with(
            node, Transition(step(node.state, Trigger.REMOVED), "Removed", "removed on request")
        )
        gone: dict[str, object | None] = {keys.node(node.id): None}
        await self._state.commit(gone)
        for container in self._state.containers(node.id):
            self._state.observe(keys.container(node.id, container.id), None)
        self._state.observe(keys.live(node.id), None, durable=False)
        self._state.observe(keys.usage(node.id), None, durable=False)
        self._health.pop(node.id, None)
        self._event(leaving, Severity.WARNING, "Removed", "taken out of the cluster")
        return leaving

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
        """Bring the node's state in line with its health."""
        node = self._state.node(node_id)
        if node is not None:
            transition = settle(node.state, node.reason, self.health(node_id))
            if transition is not None:
                self._move(node, transition)

    def _move(self, node: Node, transition: Transition) -> Node:
        moved = self._with(node, transition)
        self._state.observe(keys.node(node.id), moved)
        bad = moved.state is NodeState.NOT_READY
        self._event(
            moved,
            Severity.WARNING if bad else Severity.INFO,
            moved.reason,
            f"{node.state} → {moved.state}: {moved.message}"
            if node.state is not moved.state
            else f"still {moved.state}: {moved.message}",
        )
        return moved

    def _with(self, node: Node, transition: Transition) -> Node:
        return replace(
            node,
            state=transition.state,
            reason=transition.reason,
            message=transition.message,
            since=self._clock.utc() if transition.state is not node.state else node.since,
        )

    def describe(self, node_id: str, **fields: object) -> None:
        """Record what the agent says of its machine."""
        node = self._state.node(node_id)
        if node is not None:
            self._save(node, fields)

    def condition(self, node_id: str, *conditions: Condition) -> None:
        """Record findings; one that did not change keeps its time."""
        node = self._state.node(node_id)
        if node is None:
            return
        merged = {c.type: c for c in node.conditions}
        for new in conditions:
            old = merged.get(new.type)
            since = old.since if old and old.status == new.status else self._clock.utc()
            merged[new.type] = replace(new, since=since)
            good = new.status == (new.type in GOOD_WHEN_TRUE)
            if old.status != new.status if old else not good:
                self._event(
                    node, Severity.INFO if good else Severity.WARNING, new.reason, new.message
                )
        self._save(node, {"conditions": tuple(merged[t] for t in sorted(merged))})

    def _save(self, node: Node, fields: Mapping[str, object]) -> None:
        changed = replace(node, **fields)  # type: ignore[arg-type]
        if changed != node:
            self._state.observe(keys.node(node.id), changed)

    def _event(self, node: Node, severity: Severity, reason: str, message: str) -> None:
        self._events.add(severity, "node", node.name, reason, message, node.name)


GOOD_WHEN_TRUE = frozenset({"RuntimeReady"})


def _listed_fields(entry: ListedNode, labels: Mapping[str, str]) -> dict[str, object]:
    return {
        "role": entry.role,
        "type": entry.type,
        "link_profile": entry.link,
        "labels": {**labels, **entry.labels},
    }


def _registered_message(node: Node) -> str:
    r = node.resources
    return (
        f"{node.role} node at {node.ip}: {node.facts.os or 'unknown system'},"
        f" {r.cpu_cores} cores, {r.memory_mb} MB"
    )


def _health_of(node: Node) -> Health:
    """What is known of a node's health when the master starts: the reason it was not ready."""
    if node.state is NodeState.NOT_READY and node.reason in set(Fault):
        return Health({Fault(node.reason): node.message})
    return Health()


def _validate(request: Registration) -> None:
    if not _ID.fullmatch(request.node_id):
        raise InvalidSpec(f'"{request.node_id}" is not a node id: 1 to 64 letters and digits')
    if not _NAME.fullmatch(request.name):
        raise InvalidSpec(
            f'"{request.name}" is not a node name: lower-case letters, digits, "-" and ".",'
            " at most 63; choose one with --name"
        )
    if request.ip:
        try:
            ipaddress.ip_address(request.ip)
        except ValueError:
            raise InvalidSpec(f'"{request.ip}" is not an IP address') from None
    if request.link and request.link not in PROFILES:
        raise InvalidSpec(f'link "{request.link}" is not known; there are {", ".join(PROFILES)}')
    if len(request.labels) > MAX_LABELS:
        raise InvalidSpec(f"a node has at most {MAX_LABELS} labels")
    check_labels(request.labels)
