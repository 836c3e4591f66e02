"""What each node is to run, told to its agent: when it connects, and whenever that changes.

The agent keeps it on its disk and needs no master to go by it. So what matters here is that both
hold the same in the end: Hello says what the agent holds, every heartbeat the digest of it, and
what differs is sent. A node gets the secrets of its own instances, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from piccolo.core.model import NodeState, Severity
from piccolo.core.workloads.dependencies import state_of
from piccolo.core.workloads.instances import DependencyState
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.rounds import Rounds, Slices
from piccolo.master.sessions import Session
from piccolo.master.state_manager import StateManager
from piccolo.master.workloads.desired_feed import Feed
from piccolo.master.workloads.holdings import Holdings
from piccolo.master.workloads.instance_specs import InstanceSpecs, Spec
from piccolo.master.workloads.rebuild import RestoredCluster

AGAIN = 1.0  # s, for an agent whose messages wait


class Held(Protocol):
    """As `wire.HeldInstance`."""

    key: str
    digest: int


class DesiredState:
    """Keep `run` running."""

    def __init__(
        self,
        state: StateManager,
        events: EventLog,
        specs: InstanceSpecs,
        clock: Clock,
        restored: RestoredCluster,
        holdings: Holdings,
    ) -> None:
        self._state = state
        self._holdings = holdings
        self._restored = restored
        self._events = events
        self._specs = specs
        self._clock = clock
        self._feeds: dict[str, Feed] = {}  # by node
        self._errors: dict[str, str] = {}  # what agents could not take over, by node: told once
        self._rounds = Rounds(
            state,
            self._once,
            urgent=(keys.ASSIGNMENT, keys.SECRET, keys.NODE, keys.STATUS, keys.RETURNED),
            others=(keys.INSTANCE,),
        )

    async def run(self) -> None:
        await self._rounds.run()

    # ---- sessions ----

    def open(self, session: Session, held: Iterable[Held]) -> None:
        """A session begins; `held` is what the agent has on its disk."""
        found = {h.key: h.digest for h in held}
        self._feeds[session.node_id] = Feed(session, found)
        self._holdings.has(session.node_id, found)
        self._restored.open(session, found)
        self._rounds.poke()

    def close(self, session: Session) -> None:
        self._restored.close(session)
        if self._feed(session) is not None:
            del self._feeds[session.node_id]

    def answered(self, session: Session, digest: int, error: str) -> None:
        """The agent has taken over what it was told, or could not."""
        feed = self._feed(session)
        if feed is None:
            return
        owed = feed.owes
        feed.answered(digest, error)
        self._holdings.has(session.node_id, feed.possible)
        if owed:
            self._rounds.poke()
        if not feed.error:
            self._errors.pop(session.node_id, None)
        elif self._errors.get(session.node_id) != feed.error:
            self._errors[session.node_id] = feed.error
            node = self._state.node(session.node_id)
            name = node.name if node else session.node_id
            message = f"{feed.error}; it goes on with what it has, and is asked again and again"
            self._events.add(Severity.ERROR, "node", name, "WorkloadsNotTaken", message, name)

    def beat(self, session: Session, digest: int) -> None:
        """A heartbeat: the digest of all that the agent holds."""
        feed = self._feed(session)
        now = self._clock.monotonic()
        if feed is None or not self._admitted(session.node_id):
            return
        if feed.beat(digest, now):
            self._rounds.poke()
        self._holdings.has(session.node_id, feed.possible)

    def _feed(self, session: Session) -> Feed | None:
        feed = self._feeds.get(session.node_id)
        return feed if feed is not None and feed.session is session else None

    # ---- rounds ----

    async def _once(self) -> float | None:
        """Tell every connected agent what it does not know yet."""
        if (wait := self._restored.wait()) is not None:
            return wait
        slices = Slices(self._clock.monotonic)
        known: dict[str, DependencyState] = {}
        for node_id in list(self._feeds):
            if not self._admitted(node_id) or self._restored.holds(node_id):
                continue
            wanted: dict[str, Spec | None] = {}
            for assignment in list(self._state.group(keys.assignments(node_id)).values()):
                wanted[assignment.key] = self._specs.of(assignment)
                await slices.next()
            feed = self._feeds.get(node_id)
            if feed is not None and not feed.session.ended.is_set():
                told = self._dependencies(wanted, known)
                feed.tell(wanted, told, self._clock.monotonic())
                self._holdings.has(node_id, feed.possible)
        self._specs.keep(self._state.assignments(), self._state.group(keys.WORKLOAD))
        return AGAIN if any(feed.owes for feed in self._feeds.values()) else None

    def _dependencies(
        self, wanted: Mapping[str, Spec | None], known: dict[str, DependencyState]
    ) -> dict[str, DependencyState]:
        """Of the workloads that these depend on; `known` is what this round has found out."""
        specs = [spec for spec in wanted.values() if spec is not None]
        names = {needed.workload for spec in specs for needed in spec.workload.depends_on}
        for name in names - known.keys():
            copies, seen = self._state.copies(name)
            known[name] = state_of(name, copies, seen, self._state.workload(name))
        return {name: known[name] for name in sorted(names)}

    def _admitted(self, node_id: str) -> bool:
        node = self._state.node(node_id)
        terminating = self._state.status(node_id).state is NodeState.TERMINATING
        return node is not None and node.admitted and not terminating
