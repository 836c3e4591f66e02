"""A simulated master: one run of it. Sessions, reports, the judge of links, what agents are told.

As `api_server.agent_service`, `monitoring_server`, `node_manager` and `desired_state` call the pure
core; its planning stands in `controller`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from piccolo.core.errors import Conflict, PiccoloError, Unavailable
from piccolo.core.model import Node, NodeState, NodeStatus, Resources
from piccolo.core.nodes.liveness import Link, LinkProfile
from piccolo.core.nodes.states import Fault, Health, Transition, Trigger, settle, step
from piccolo.core.planning.planner import Step
from piccolo.core.report import Delta, Report
from piccolo.core.workloads.dependencies import state_of
from piccolo.core.workloads.instances import DependencyState
from piccolo.master import keys
from piccolo.master.workloads.desired_feed import Feed
from piccolo.master.workloads.holdings import Holdings
from piccolo.master.workloads.instance_specs import InstanceSpecs, Spec
from piccolo.rpc import wire
from tests.simulation.pure.clock import Clock
from tests.simulation.pure.controller import Controller
from tests.simulation.pure.messages import (
    Beat,
    BeatAck,
    Goodbye,
    Hello,
    PulseAnswer,
    Resync,
    Snapshot,
    StreamPulse,
    Taken,
    Told,
    Welcome,
)
from tests.simulation.pure.record import Conditions, Record, Store, Values
from tests.simulation.pure.rounds import Done, Rounds
from tests.simulation.pure.sessions import MasterSession

_JUDGE_AT_MOST_EVERY = 0.1  # s
_AGAIN = 1.0  # s, for an agent whose messages wait
RESOURCES = Resources(4, 8192)


class Watch(Protocol):
    def planned(self, steps: Sequence[Step]) -> None: ...

    def moved(self, node_id: str, before: NodeState, after: Transition) -> None: ...

    def told(self, message: wire.Desired) -> None: ...


class Master:
    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        store: Store,
        profiles: Mapping[str, LinkProfile],
        watch: Watch,
        died: Callable[[], None],
    ) -> None:
        self.alive = True
        self.clock, self.rng = clock, rng
        self.watch = watch
        self.rest = rng.choice((0.02, 0.1, 0.3))  # s between two rounds: it may be slow
        self.started_at = clock.now
        self.record = Record(store)
        self.specs = InstanceSpecs(cast(Any, self.record))
        self.fatal = 0  # so many commits until it is killed in the midst of one
        self.store_away = False
        self.links: dict[str, Link] = {}
        self._died = died
        self._profiles = profiles
        self._sessions: dict[str, MasterSession] = {}
        self._last: dict[str, MasterSession] = {}  # also after its end: pulses of it are answered
        self._feeds: dict[str, Feed] = {}
        self._reports: dict[str, Report] = {}
        self._health: dict[str, Health] = {}
        self._writing = False
        self._judgement = 0  # counts timers
        store.epoch += 1
        self._generation = store.epoch << 32
        self.holdings = Holdings()
        self.controller = Controller(self)
        self.holdings.freed = self.controller.rounds.poke
        self._telling = Rounds(clock, self, self._tell, self.rest)

    def start(self) -> None:
        for node in self.record.store.nodes.values():
            profile = self._profiles[node.id]
            grace = profile.backoff_cap + profile.reconnect_grace
            self.links[node.id] = Link(profile, self.clock.now, grace=grace)
            status = self.record.statuses.get(node.id)
            if status is None:
                admitted = step(NodeState.PENDING, Trigger.APPROVED)
                self.record.observe_node(node.id, NodeStatus(admitted, resources=RESOURCES))
                status = self.record.statuses[node.id]
            health = Health()
            if status.state is NodeState.NOT_READY and status.reason in set(Fault):
                health = Health({Fault(status.reason): status.message})
            self._health[node.id] = health
        self._write_later()
        self._judge_all()
        self.controller.rounds.poke()
        self._telling.poke()

    def kill(self) -> None:
        """As by SIGKILL: its kernel hangs up."""
        self.alive = False
        for session in self._sessions.values():
            session.stream.down.end()

    # ---- the store ----

    def commit(
        self,
        values: Values,
        conditions: Conditions,
        done: Callable[[PiccoloError | None], None],
    ) -> None:
        """It takes a moment; who waits for it is told."""
        late = self.rng.random() * (0.1 if self.rng.random() < 0.3 else 0.002)
        self.clock.after(late, self, self._commit, values, conditions, done)

    def _commit(
        self,
        values: Values,
        conditions: Conditions,
        done: Callable[[PiccoloError | None], None],
    ) -> None:
        dies = self.fatal == 1
        self.fatal = max(0, self.fatal - 1)
        if dies and self.rng.random() < 0.5:
            self._died()
            return
        if self.store_away:
            if self.rng.random() < 0.3:  # nobody learns that it came through
                self._unheard(values, conditions)
            done(Unavailable("the store is away"))
            return
        try:
            self.record.store.commit(values, conditions)
        except Conflict as error:
            done(error)
            return
        self._changed(values)
        if dies:
            self._died()
        else:
            done(None)

    def _unheard(self, values: Values, conditions: Conditions) -> None:
        try:
            self.record.store.commit(values, conditions)
        except Conflict:
            return
        self._changed(values)

    def _changed(self, values: Values) -> None:
        """News of the store, to those who act upon it."""
        for key in values:
            if key.startswith((keys.WORKLOAD, keys.SECRET, keys.NODE)):
                self.controller.rounds.poke(urgent=True)
            if key.startswith((keys.ASSIGNMENT, keys.SECRET, keys.NODE)):
                self._telling.poke(urgent=True)
        self.controller.rounds.poke()

    def _write_later(self) -> None:
        if not self._writing:
            self._writing = True
            self.clock.after(self.rng.choice((0.01, 0.05, 0.3)), self, self._write)

    def _write(self) -> None:
        self._writing = False
        if self.store_away:
            self._write_later()
        else:
            self.record.write()

    # ---- sessions ----

    def accept(self, node_id: str) -> MasterSession:
        """Somebody connects; the session begins with Hello."""
        return MasterSession(self, node_id)

    def receive(self, session: MasterSession, message: Any) -> None:
        if not self.alive or session.over:
            return
        if isinstance(message, Hello):
            self._open(session, message)
            return
        if self._sessions.get(session.node_id) is not session:
            session.end()  # it was replaced
            return
        self._heard(session)
        if message.seq != session.message_seq + 1:
            session.send(Resync())
        session.message_seq = message.seq
        match message:
            case Beat():
                self._on_beat(session, message)
            case Told(_, delta):
                self._report(session.node_id, delta)
                self._synced(session.node_id, True)
            case Snapshot(_, instances):
                report = self.report(session.node_id)
                self._report(session.node_id, report.instance_difference(instances))
                self._synced(session.node_id, True)
            case Taken(_, digest, error):
                self._on_taken(session, digest, error)
            case StreamPulse(_, number, heard_ago):
                self._heard(session, heard_ago)
                session.send(PulseAnswer(number))

    def _open(self, session: MasterSession, hello: Hello) -> None:
        node_id = session.node_id
        old = self._sessions.get(node_id)
        if old is not None:
            old.send(Goodbye())
            old.end()
        self._generation += 1
        session.generation = self._generation
        self._sessions[node_id] = self._last[node_id] = session
        need_snapshot = hello.digest != self.report(node_id).digest
        session.send(Welcome(session.generation, need_snapshot))
        self._feeds[node_id] = Feed(cast(Any, session), hello.held)
        self.holdings.has(node_id, hello.held)
        self._telling.poke(urgent=True)
        self._synced(node_id, False)
        self.links[node_id].opened(session.generation, self.clock.now)
        self._link_restored(node_id)
        self._judge_all()

    def closed(self, session: MasterSession) -> None:
        """The stream ended, on either side."""
        session.over = True
        node_id = session.node_id
        if not self.alive or self._sessions.get(node_id) is not session:
            return
        del self._sessions[node_id]
        self._feeds.pop(node_id, None)
        self.links[node_id].closed(session.generation, self.clock.now)
        self._synced(node_id, False)
        self._judge_all()

    def _on_beat(self, session: MasterSession, beat: Beat) -> None:
        link = self.links[session.node_id]
        link.heard(session.generation, self.clock.now, heartbeat=True)
        session.send(BeatAck(beat.seq))
        if beat.digest != self.report(session.node_id).digest:
            session.send(Resync())
        feed = self._feeds.get(session.node_id)
        if feed is not None:
            if feed.beat(beat.desired_digest, self.clock.now):
                self._telling.poke(urgent=True)
            self.holdings.has(session.node_id, feed.possible)

    def _on_taken(self, session: MasterSession, digest: int, error: str) -> None:
        feed = self._feeds.get(session.node_id)
        if feed is not None:
            owed = feed.owes
            feed.answered(digest, error)
            self.holdings.has(session.node_id, feed.possible)
            if owed:
                self._telling.poke(urgent=True)

    # ---- what agents are told ----

    def _tell(self, done: Done) -> None:
        record = self.record
        by_node: dict[str, dict[str, Spec | None]] = {}
        for a in record.store.assignments.values():
            by_node.setdefault(a.node_id, {})[a.key] = self.specs.of(a)
        known: dict[str, DependencyState] = {}
        for node_id, feed in list(self._feeds.items()):
            wanted = by_node.get(node_id, {})
            specs = [spec for spec in wanted.values() if spec is not None]
            names = {needed.workload for spec in specs for needed in spec.workload.depends_on}
            for name in sorted(names - known.keys()):
                known[name] = state_of(name, *record.copies(name), record.workload(name))
            feed.tell(wanted, {name: known[name] for name in sorted(names)}, self.clock.now)
            self.holdings.has(node_id, feed.possible)
        self.specs.keep(list(record.store.assignments.values()), record.store.workloads)
        done(_AGAIN if any(feed.owes for feed in self._feeds.values()) else None)

    # ---- what agents report ----

    def report(self, node_id: str) -> Report:
        found = self._reports.get(node_id)
        if found is None:
            known = [s for (at, _), s in self.record.seen.items() if at == node_id]
            found = self._reports[node_id] = Report(instances=known)
        return found

    def _report(self, node_id: str, delta: Delta) -> None:
        report = self.report(node_id)
        for status in delta.instances:
            if report.instances.get(status.key) != status:
                self.record.observe_instance((node_id, status.key), status)
        for key in delta.removed_instances:
            if key in report.instances:
                self.record.observe_instance((node_id, key), None)
        report.apply(delta)
        if delta:
            self._write_later()
            self.controller.rounds.poke()
            self._telling.poke()

    # ---- who lives ----

    def _heard(self, session: MasterSession, ago: float | None = None, **how: bool) -> None:
        link, now = self.links[session.node_id], self.clock.now
        if not link.open:
            link.probed(session.generation, now)
            return
        link.heard(session.generation, now, heard_us_ago=ago, **how)
        if self._health[session.node_id].link_lost:
            self._judge(session.node_id, link)

    def pulse(self, node_id: str, generation: int, number: int, heard_ago: float) -> bool:
        """A datagram came. Whether it is answered."""
        session = self._last.get(node_id)
        if session is None or session.generation != generation or number <= session.pulse_seq:
            return False
        session.pulse_seq = number
        self._heard(session, heard_ago, datagram=True)
        return True

    def _judge_all(self, number: int = 0) -> None:
        """Now, and again when a verdict can next change by itself."""
        if number not in (0, self._judgement):
            return
        now = self.clock.now
        wake_at = now + 10.0
        for node_id, link in self.links.items():
            self._judge(node_id, link)
            deadline = link.next_deadline(now)
            if deadline is not None:
                wake_at = min(wake_at, deadline)
        self._judgement += 1
        at = max(now + _JUDGE_AT_MOST_EVERY, wake_at)
        self.clock.at(at, self, self._judge_all, self._judgement)

    def _judge(self, node_id: str, link: Link) -> None:
        now, health = self.clock.now, self._health[node_id]
        fault = link.fault(now)
        if fault is not None and not health.link_lost:
            self._health[node_id] = health.with_fault(fault, link.explain(fault, now))
            self._settle(node_id)
        elif fault is None and health.link_lost and link.open and not link.suspect(now):
            self._link_restored(node_id)

    def met(self, node_id: str) -> bool:
        """Whether the node ever came to this run of the master."""
        return node_id in self._last

    def synced(self, node_id: str) -> bool:
        """Whether it has the node's full report, over its current session."""
        return node_id in self._sessions and self._health[node_id].synced

    def _link_restored(self, node_id: str) -> None:
        self._health[node_id] = self._health[node_id].with_link()
        self._settle(node_id)

    def _synced(self, node_id: str, synced: bool) -> None:
        health = self._health[node_id]
        if health.synced is not synced:
            self._health[node_id] = replace(health, synced=synced)
            self._settle(node_id)

    def _settle(self, node_id: str) -> None:
        status = self.record.statuses[node_id]
        transition = settle(status.state, status.reason, self._health[node_id])
        if transition is None:
            return
        self.watch.moved(node_id, status.state, transition)
        state, reason, message = transition.state, transition.reason, transition.message
        after = replace(status, state=state, reason=reason, message=message)
        self.record.observe_node(node_id, after)
        self._write_later()
        self.controller.rounds.poke()
        self._telling.poke(urgent=True)

    def node(self, node_id: str) -> Node:
        return self.record.store.nodes[node_id]
