"""What a master does that was restored from a backup: it asks before it acts.

The agents go on by their own disks, and those may hold what is newer than the backup. So:

* Until every node of the cluster has come back and told what it holds, or `PATIENCE` is over, the
  master starts, changes and stops nothing.
* Whatever a node holds that differs from what it would be told is asked for and put together with
  what the store says (`core.workloads.adoption`), the newer of the two for each workload and each
  secret. That is written at once, with a mark that this node has returned.
* A node that returns later is told nothing before that either, however late it is.
* A copy that the backup has on a node which does not have it was deleted or moved meanwhile. Which
  of the two, nobody knows: so there is some time for another node to bring it; then it is started.

Of a master that was never restored all this is silent and free.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta

from piccolo.core.errors import Conflict, InvalidSpec, StaleGeneration, Unavailable
from piccolo.core.model import Node
from piccolo.core.workloads.adoption import CAUSE, Adoption, Held, Known, adopt
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.keys import MasterRecord, Rebuild, Restored, Returned
from piccolo.master.rounds import Rounds, Slices
from piccolo.master.sessions import Session
from piccolo.master.state_manager import StateManager
from piccolo.master.workloads.inquiry import Inquiry
from piccolo.master.workloads.instance_specs import InstanceSpecs
from piccolo.master.workloads.rebuild_events import RebuildEvents, waiting
from piccolo.rpc import wire

log = logging.getLogger(__name__)

PATIENCE = 75.0  # s: the longest pause of an agent between two attempts, and time to connect
STRANGERS = 10.0  # s for nodes that the backup does not know, if copies are missing: see above
_AGAIN = 1.0  # s, when the store or an agent's disk could not be used


class RestoredCluster:
    """`begin` first; keep `run` running."""

    def __init__(
        self, state: StateManager, events: EventLog, specs: InstanceSpecs, clock: Clock
    ) -> None:
        self._state = state
        self._events = RebuildEvents(state, events)
        self._specs = specs
        self._clock = clock
        self._began = clock.monotonic()
        self._until = 0.0  # monotonic
        self._over = True
        self._inquiries: dict[str, Inquiry] = {}  # of nodes that are back
        self._absent: list[Assignment] = []  # their nodes are back without them
        self._rounds = Rounds(state, self._once, urgent=(keys.NODE,), others=())

    @property
    def restored(self) -> Restored | None:
        record = self._state.get(keys.MASTER, MasterRecord)
        return record.restored if record else None

    async def begin(self, patience: float = PATIENCE) -> None:
        """Raises `Unavailable`."""
        if self.restored is None:
            return
        now, rebuild = self._clock.utc(), self._state.get(keys.REBUILD, Rebuild)
        if rebuild is None or rebuild.restored_at != self.restored.at:
            until = now + timedelta(seconds=patience)
            rebuild = Rebuild(self.restored.at, until, patience)
            former = dict.fromkeys(self._state.group(keys.RETURNED))
            await self._state.commit({**former, keys.REBUILD: rebuild})
            self._events.began(self.restored, patience)
        left = (rebuild.until - now).total_seconds()
        self._until = self._began + min(max(left, 0.0), rebuild.patience)  # clocks may step
        self._over = left <= 0 or self._complete

    # ---- what others ask ----

    def wait(self) -> float | None:
        """For so many seconds more nothing is to be changed; None: go on."""
        if self._over:
            return None
        until = self._until
        if self._complete:
            until = min(until, self._began + (STRANGERS if self._absent else 0.0))
        left = until - self._clock.monotonic()
        if left > 0:
            return left
        self._over = True
        self._events.absent(self._absent)
        self._absent.clear()
        if self.restored is not None:
            self._events.ended(self.restored, self.returned(), self.missing())
        return None

    def holds(self, node_id: str) -> bool:
        """Whether it is not known yet what this node has."""
        return self.restored is not None and not self._returned(node_id)

    @property
    def from_backup(self) -> bool:
        return self.restored is not None and self.restored.backup_at is not None

    def takes_over(self, node_id: str) -> bool:
        """Whether what this node has of another cluster becomes this one's."""
        return self.holds(node_id) and not self.from_backup

    def missing(self) -> list[Node]:
        """Nodes that have not come back since the restore."""
        return [n for n in self._state.nodes() if n.admitted and self.holds(n.id)]

    def returned(self) -> list[Node]:
        """Nodes that have told since the restore what they run."""
        return [n for n in self._state.nodes() if n.admitted and not self.holds(n.id)]

    @property
    def _complete(self) -> bool:
        """All nodes are back; without a backup nobody knows which they are."""
        return self.from_backup and not self.missing()

    def may_return(self, declared: Declared) -> bool:
        """Whether a node may still bring back this workload, if it is forgotten now."""
        return declared.cause == CAUSE and bool(self.missing())

    @property
    def waits_for(self) -> str:
        """For people, while nothing is changed; empty: it is."""
        left = self.wait()
        if left is None or self.restored is None:
            return ""
        return waiting(self.restored, self.missing(), left)

    def _returned(self, node_id: str) -> bool:
        mark = self._state.get(keys.returned(node_id), Returned)
        restored = self.restored
        return mark is not None and restored is not None and mark.restored_at == restored.at

    # ---- sessions ----

    def open(self, session: Session, held: Mapping[str, int]) -> None:
        if self.holds(session.node_id):
            self._inquiries[session.node_id] = Inquiry(session, held)
            self._rounds.poke()

    def close(self, session: Session) -> None:
        if self._inquiry(session) is not None:
            del self._inquiries[session.node_id]

    def told(self, session: Session, specs: wire.HeldSpecs) -> None:
        """What it was asked for, or some of it."""
        inquiry = self._inquiry(session)
        if inquiry is None:
            return
        try:
            inquiry.answered(specs)
        except Conflict as error:  # it took over a change of before: its next Hello says so
            log.info("node %s is asked anew: %s", session.node_id, error)
            session.end()
        except (InvalidSpec, Unavailable) as error:
            self._trouble(inquiry, str(error))
        self._rounds.poke()

    def _inquiry(self, session: Session) -> Inquiry | None:
        found = self._inquiries.get(session.node_id)
        return found if found is not None and found.session is session else None

    def _trouble(self, inquiry: Inquiry, error: str) -> None:
        inquiry.trouble = error
        self._events.trouble(inquiry.session.node_id, error)

    # ---- rounds ----

    async def run(self) -> None:
        await self._rounds.run()

    async def _once(self) -> float | None:
        due: list[float] = []
        slices = Slices(self._clock.monotonic)
        for inquiry in list(self._inquiries.values()):
            node = self._state.node(inquiry.session.node_id)
            ended = inquiry.trouble or inquiry.session.ended.is_set()
            if node is not None and node.admitted and not ended:
                again = await self._go_on(node, inquiry)
                due += [] if again is None else [again]
                await slices.next()
        return min(due, default=None)

    async def _go_on(self, node: Node, inquiry: Inquiry) -> float | None:
        """After how many seconds it has to be looked at again in any case."""
        now = self._clock.monotonic()
        left = inquiry.patience(now)
        if left is not None:
            if left <= 0:
                self._trouble(inquiry, "its agent does not answer: upgrade it")
            return left if left > 0 else None
        if unknown := self._unknown(inquiry):
            inquiry.ask(unknown, now)
            return inquiry.patience(now)
        try:
            await self._take_over(node, inquiry)
        except StaleGeneration:
            raise
        except (Conflict, Unavailable) as error:
            log.info("what %s holds is taken over in a moment: %s", node.name, error)
            return _AGAIN
        return None

    def _unknown(self, inquiry: Inquiry) -> list[str]:
        """What the node would be told otherwise, and has not told us."""
        assigned = {a.key: a for a in self._state.assignments(inquiry.session.node_id)}
        unknown = []
        for key, digest in inquiry.held.items():
            spec = self._specs.of(assigned[key]) if key in assigned else None
            if key not in inquiry.found and (spec is None or spec.digest != digest):
                unknown.append(key)
        return unknown

    async def _take_over(self, node: Node, inquiry: Inquiry) -> None:
        restored = self.restored
        assert restored is not None
        held = inquiry.found.values()
        adoption = adopt(self._known(held), node.id, node.name, held)
        values = _values(adoption)
        values[keys.returned(node.id)] = Returned(restored.at)
        await self._state.commit(values, {key: self._state.revision_of(key) for key in values})
        if self._inquiries.get(node.id) is inquiry:
            del self._inquiries[node.id]
        self._events.returned(restored, node, adoption.notes)
        absent = [a for a in self._state.assignments(node.id) if a.key not in inquiry.held]
        if self._over:
            self._events.absent(absent)
        else:
            self._absent += absent

    def _known(self, held: Iterable[Held]) -> Known:
        restored = self.restored
        assert restored is not None
        names = {h.instance.workload.name for h in held}
        declared = self._state.declared()
        return Known(
            restored.backup_at,
            restored.at,
            {name: declared[name] for name in names if name in declared},
            {name: self._state.history(name) for name in names},
            [a for name in sorted(names) for a in self._state.copies(name)[0]],
            {secret.name: secret for secret in self._state.secrets()},
            {n.id for n in self._state.nodes() if self._returned(n.id)},
            early=not self._over,
        )


def _values(adoption: Adoption) -> dict[str, object | None]:
    values: dict[str, object | None] = {
        keys.workload(name): declared for name, declared in adoption.declared.items()
    }
    for past in adoption.past:
        values[keys.past(past.workload.name, past.generation)] = past
    for a in adoption.retracted:
        values[keys.assignment(a.node_id, a.key)] = None
    for a in adoption.assigned:
        values[keys.assignment(a.node_id, a.key)] = a
    for name, secret in adoption.secrets.items():
        values[keys.secret(name)] = secret
    return values
