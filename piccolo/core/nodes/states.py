"""The life of a node (HLD 6.2): every legal transition, and nothing that is not in the table.

Everything that moves a node from one state to another goes through `step`. The diagram in
`docs/node-states.md` is generated from `TRANSITIONS`.

A node can be NotReady for several causes at once (its link is lost *and* its disk is full). It is
Ready again only when the last of them is gone; `Health` keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from piccolo.core.errors import Conflict
from piccolo.core.model import NodeState


class Trigger(StrEnum):
    """What can happen to a node, as far as its state is concerned."""

    APPROVED = "approved"  # listed, let in by policy, or by an administrator
    SYNCED = "synced"  # connected, and the master holds its full report
    FAULT = "fault"  # the link is lost, or a resource is short
    RECOVERED = "recovered"  # no fault is left, and the node is synced
    MAINTENANCE_ON = "maintenance on"
    MAINTENANCE_OFF = "maintenance off"
    REMOVED = "removed"


_P, _I, _R = NodeState.PENDING, NodeState.INITIALIZING, NodeState.READY
_N, _M, _T = NodeState.NOT_READY, NodeState.MAINTENANCE, NodeState.TERMINATING

TRANSITIONS: Mapping[tuple[NodeState, Trigger], NodeState] = {
    (_P, Trigger.APPROVED): _I,
    (_I, Trigger.SYNCED): _R,
    (_I, Trigger.FAULT): _N,
    (_R, Trigger.FAULT): _N,
    (_N, Trigger.RECOVERED): _R,
    (_I, Trigger.MAINTENANCE_ON): _M,
    (_R, Trigger.MAINTENANCE_ON): _M,
    (_N, Trigger.MAINTENANCE_ON): _M,
    (_M, Trigger.MAINTENANCE_OFF): _I,
    (_P, Trigger.REMOVED): _T,
    (_I, Trigger.REMOVED): _T,
    (_R, Trigger.REMOVED): _T,
    (_N, Trigger.REMOVED): _T,
    (_M, Trigger.REMOVED): _T,
}


def step(state: NodeState, trigger: Trigger) -> NodeState:
    """The state after `trigger`. Raises `Conflict` where the table has no such transition."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        legal = ", ".join(sorted(t for s, t in TRANSITIONS if s is state)) or "nothing"
        raise Conflict(f'a {state} node cannot take "{trigger}"; it can take: {legal}') from None


class Fault(StrEnum):
    """Why a node is not fit for work. The values are the reasons that users read."""

    CONNECTION_CLOSED = "ConnectionClosed"
    SILENT = "Silent"  # nothing came from the node
    DEAF = "Deaf"  # the node is heard, but does not hear the master
    HEARTBEAT_TIMEOUT = "HeartbeatTimeout"
    AGENT_STOPPED = "AgentStopped"  # it said so
    MEMORY_SHORTAGE = "MemoryShortage"
    DISK_SHORTAGE = "DiskShortage"


LINK_FAULTS = frozenset(
    {
        Fault.CONNECTION_CLOSED,
        Fault.SILENT,
        Fault.DEAF,
        Fault.HEARTBEAT_TIMEOUT,
        Fault.AGENT_STOPPED,
    }
)


@dataclass(frozen=True, slots=True)
class Health:
    """The faults of a node that hold now, each with its explanation, and whether it is synced."""

    faults: Mapping[Fault, str] = field(default_factory=dict)
    synced: bool = False

    @property
    def fit(self) -> bool:
        return self.synced and not self.faults

    @property
    def link_lost(self) -> bool:
        return not LINK_FAULTS.isdisjoint(self.faults)

    def with_fault(self, fault: Fault, message: str) -> Health:
        """A link that is lost already keeps the fault it was lost by."""
        if fault in LINK_FAULTS and self.link_lost:
            return self
        return replace(self, faults={**self.faults, fault: message})

    def without(self, *faults: Fault) -> Health:
        return replace(self, faults={f: m for f, m in self.faults.items() if f not in faults})

    def with_link(self) -> Health:
        return self.without(*LINK_FAULTS)


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state, or of the reason for it, with the reason and message to record."""

    state: NodeState
    reason: str
    message: str


def settle(state: NodeState, reason: str, health: Health) -> Transition | None:
    """Bring `state` in line with `health`; None when it already is.

    Only Initializing, Ready and NotReady follow the node's health: a Pending node waits for
    approval, one in Maintenance for its administrator, one that is Terminating for its end.
    """
    if health.faults and state in (_I, _R):
        fault, message = next(iter(health.faults.items()))
        return Transition(step(state, Trigger.FAULT), fault.value, message)
    if health.faults and state is _N and reason not in health.faults:
        fault, message = next(iter(health.faults.items()))
        return Transition(_N, fault.value, message)
    if health.fit and state is _I:
        return Transition(step(state, Trigger.SYNCED), "Synced", "connected and synchronised")
    if health.fit and state is _N:
        return Transition(step(state, Trigger.RECOVERED), "Recovered", "no fault is left")
    return None


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {_P}: registered"]
    lines += [f"    {s} --> {t}: {trigger}" for (s, trigger), t in TRANSITIONS.items()]
    return "\n".join([*lines, f"    {_T} --> [*]: cleaned up"])
