"""What must never happen, besides what holds for both simulations (`tests.simulation.rules`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from piccolo.core.model import Container, NodeState
from piccolo.core.nodes.states import LINK_FAULTS, TRANSITIONS, Transition
from piccolo.core.planning.copies import same_containers, tells_of
from piccolo.core.planning.planner import Step, Verb
from piccolo.core.workloads.instances import spec_hash
from piccolo.rpc import wire
from tests.simulation import rules
from tests.simulation.pure.runtime import NodeRuntime

if TYPE_CHECKING:
    from tests.simulation.pure.agent import Node
    from tests.simulation.pure.master import Master

_LEGAL = {(before, after) for (before, _), after in TRANSITIONS.items()}
_JUDGED_WITHIN = 1.0  # s that a judge and the messages under way may add


class Rules(rules.Rules):
    """`nodes` are all nodes; `master` is the one that runs."""

    def __init__(
        self,
        note: Callable[[str], None],
        now: Callable[[], float],
        nodes: Mapping[str, Node],
        master: Callable[[], Master | None],
    ) -> None:
        super().__init__(note, now)
        self.messages = 0  # of the master, about instances
        self.planned_steps = 0
        self._nodes = nodes
        self._master = master

    # ---- of the master ----

    def told(self, message: wire.Desired) -> None:
        if message.set or message.removed or message.reset:
            self.messages += 1

    def planned(self, steps: Sequence[Step]) -> None:
        self.planned_steps += len(steps)
        master = self._master()
        if master is None:
            return
        taken_down: Counter[str] = Counter()
        for step in steps:
            declared = master.record.workload(step.workload)
            if declared is None:
                continue
            workload, place = declared.workload, (step.node_id, step.assignment.key)
            if step.verb is Verb.START and not workload.one_per_node:
                self._check_free(master, step)
            status = master.record.seen.get(place)
            ready = master.record.statuses[step.node_id].state is NodeState.READY
            if step.verb is Verb.REPLACE and status is not None and status.ready and ready:
                stay = same_containers(status, spec_hash(workload), declared.restarts)
                now = master.record.store.assignments.get(place)
                if now is not None and tells_of(status, now) and not stay:
                    taken_down[step.workload] += 1
            if taken_down[step.workload] > max(1, workload.update.max_unavailable):
                self.failed(
                    f"{taken_down[step.workload]} copies of {step.workload} go down at once"
                )

    def _check_free(self, master: Master, step: Step) -> None:
        """A copy is not started elsewhere while a ready node still has it."""
        key = step.assignment.key
        for node_id, seen in master.record.seen:
            ready = master.record.statuses[node_id].state is NodeState.READY
            if seen == key and node_id != step.node_id and ready:
                self.failed(f"{key} is to start on {step.node_id}, while {node_id} still has it")
        for node in self._nodes.values():
            ready = master.record.statuses[node.id].state is NodeState.READY
            holds = node.agent is not None and key in node.agent.desired.held
            # What a node that is Ready by the store was told by the master before, only it knows.
            if holds and node.id != step.node_id and ready and master.met(node.id):
                self.failed(f"{key} is to start on {step.node_id}, while {node.name} holds it")

    def moved(self, node_id: str, before: NodeState, after: Transition) -> None:
        node, master = self._nodes[node_id], self._master()
        self._note(f"{node.name} {before} → {after.state}: {after.reason}")
        if before is not after.state and (before, after.state) not in _LEGAL:
            self.failed(f"{node.name} goes from {before} to {after.state}")
        if master is not None and after.state is NodeState.READY and not master.synced(node_id):
            self.failed(f"{node.name} is Ready, though it has not reported yet")
        if master is None or after.reason not in set(LINK_FAULTS):
            return
        link = node.link
        calm = self._now() - max(link.troubled_at, master.started_at)
        patience = node.profile.stream_stuck_after + node.profile.backoff_cap
        fine = node.agent is not None and link.whole and link.loss < 0.1
        if fine and calm > patience + node.profile.heartbeat_timeout:
            self.failed(f"{node.name} is judged lost, though nothing was wrong: {after.message}")

    def check_cut(self, node: Node, since: float) -> None:
        """It was cut off all the time since then."""
        master = self._master()
        if master is None:
            return
        profile = node.profile
        bound = max(profile.stream_silent_after, profile.reconnect_grace) + _JUDGED_WITHIN
        grace = profile.backoff_cap + profile.reconnect_grace + _JUDGED_WITHIN
        late = self._now() > max(since + bound, master.started_at + grace)
        if late and master.record.statuses[node.id].state is NodeState.READY:
            gone = self._now() - since
            self.failed(f"{node.name} is Ready, though it has been cut off for {gone:.1f} s")

    # ---- of the nodes ----

    def started(self, node: rules.Node | NodeRuntime, container: Container) -> None:
        super().started(self._nodes[node.id], container)

    def created(self, node: rules.Node | NodeRuntime, request: rules.Named) -> None:
        super().created(self._nodes[node.id], request)
