"""What is to run on a node, and what happened there, over sessions with a scripted master."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from piccolo.agent import workload_sync
from piccolo.agent.workloads.desired import Change, Desired
from piccolo.core.model import Severity
from piccolo.core.report import Delta, Report
from piccolo.core.workloads.workload import Isolation, OnIsolation
from piccolo.rpc import convert, wire
from tests.agent.workloads.specs import digest, everything, instance, needs, spec, workload
from tests.agent.world import SETTLE, Agent, Conversation, agent, scripted, until
from tests.master.virtual_time import now, virtual_time
from tests.runtime.fake import FakeRuntime

EVERY_5_S = wire.NodeConfig(
    version=1, link_profile="wired", heartbeat_interval_ms=5_000, metrics_interval_ms=5_000
)
WEB, DB = spec("web"), spec("db", **{"login/password": "czNjcmV0"})


def parts(change: Change, *dependencies: wire.DependencyState, size: int = 1) -> list[wire.Desired]:
    """As many messages as it takes with `size` instances in each."""
    chunks = [change.set[i : i + size] for i in range(0, len(change.set), size)] or [()]
    messages = [
        wire.Desired(
            reset=change.reset,
            set=[wire.DesiredInstance(s.key, s.spec, dict(s.secrets)) for s in chunk],
        )
        for chunk in chunks
    ]
    messages[0].removed = sorted(change.removed)
    messages[0].dependencies = list(dependencies)
    messages[-1].last, messages[-1].digest = True, change.digest
    return messages


class Master:
    """Keeps what it is told, and tells what it is given."""

    def __init__(self) -> None:
        self.c: Conversation | None = None
        self.hellos: list[dict[str, int]] = []
        self.acks: list[wire.DesiredAck] = []
        self.batches: list[wire.AgentEvents] = []
        self.told: list[wire.HeldSpecs] = []
        self.beats: list[tuple[float, int]] = []
        self.report = Report()
        self.acknowledges = True
        self.deaf = False

    async def __call__(self, c: Conversation) -> None:
        if self.deaf:
            await asyncio.sleep(60)
            return
        self.hellos.append({h.key: h.digest for h in c.hello.held})
        await c.welcome(need_snapshot=c.hello.digest != self.report.digest, config=EVERY_5_S)
        self.c = c
        try:
            while (message := await c.hear()) is not None:
                await self._take(c, message)
        finally:
            self.c = None

    async def _take(self, c: Conversation, message: wire.AgentMessage) -> None:
        if message.desired_ack is not None:
            self.acks.append(message.desired_ack)
        elif message.held_specs is not None:
            self.told.append(message.held_specs)
        elif message.heartbeat is not None:
            self.beats.append((now(), message.heartbeat.desired_digest))
        elif (snapshot := message.snapshot) is not None:
            self.report = Report(
                convert.containers_from_wire(snapshot.containers),
                convert.instance_statuses_from_wire(snapshot.instances),
            )
        elif (delta := message.delta) is not None:
            self.report.apply(
                Delta(
                    convert.containers_from_wire(delta.containers),
                    tuple(delta.removed),
                    convert.instance_statuses_from_wire(delta.instances),
                    tuple(delta.removed_instances),
                )
            )
        elif (events := message.events) is not None:
            self.batches.append(events)
            if self.acknowledges:
                ack = wire.EventsAck(stream=events.stream, seq=events.events[-1].seq)
                await c.say(events_ack=ack)

    async def tell(self, messages: Sequence[wire.Desired]) -> wire.DesiredAck:
        assert self.c is not None
        before = len(self.acks)
        for message in messages:
            await self.c.say(desired=message)
        await until(lambda: len(self.acks) > before)
        return self.acks[-1]

    async def ask(self, *keys: str) -> wire.HeldSpecs:
        """What the agent holds of these."""
        assert self.c is not None
        before = len(self.told)
        await self.c.say(held_query=wire.HeldQuery(keys=list(keys)))
        await until(lambda: len(self.told) > before)
        return self.told[-1]

    async def hang_up(self) -> None:
        assert self.c is not None
        await self.c.say(goodbye=wire.Goodbye(reason="MasterStopping", message="again"))
        await until(lambda: self.c is None)

    @property
    def phases(self) -> dict[str, str]:
        return {key: str(s.phase) for key, s in self.report.instances.items()}

    @property
    def events(self) -> list[str]:
        """Each number once, as the master takes them in."""
        found: dict[int, str] = {}
        for batch in self.batches:
            for event in batch.events:
                found.setdefault(event.seq, event.message)
        assert list(found) == sorted(found), "in order"
        return list(found.values())


def running(a: Agent) -> set[str]:
    return {c.name for c in a.runtime._containers.values() if c.state == "running"}


# ---- what is to run ----


@virtual_time(settle=SETTLE)
async def test_a_change_in_several_messages_is_taken_over_with_the_last() -> None:
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        *some, last = parts(everything(WEB, DB, spec("api")))
        for message in some:
            assert master.c is not None
            await master.c.say(desired=message)
        await asyncio.sleep(1)
        assert (master.acks, running(a)) == ([], set())
        ack = await master.tell([last])
        assert (ack.error, ack.digest) == ("", digest(WEB, DB, spec("api")))
        await until(lambda: set(master.phases.values()) == {"Running"})
        assert len(running(a)) == 3
        await master.tell(
            parts(Change(removed=frozenset(["db.0"]), digest=digest(WEB, spec("api"))))
        )
        await until(lambda: master.phases.keys() == {"web.0", "api.0"})


@virtual_time(settle=SETTLE)
async def test_hello_says_what_is_held_and_heartbeats_the_digest(tmp_path: Path) -> None:
    master, runtime = Master(), FakeRuntime()
    async with scripted(master) as m:
        async with agent(m.port, data=tmp_path, runtime=runtime) as a:
            await until(lambda: master.c)
            await master.tell(parts(everything(WEB, DB)))
            await until(lambda: len(running(a)) == 2)
            await asyncio.sleep(6)
            assert master.beats[0][1] == 0
            assert master.beats[-1][1] == digest(WEB, DB)
            await until(lambda: set(master.phases.values()) == {"Running"})
        before = runtime.journal.copy()
        async with agent(m.port, data=tmp_path, runtime=runtime):
            await until(lambda: master.c)
            assert master.hellos == [{}, {"web.0": digest(WEB), "db.0": digest(DB)}]
            await asyncio.sleep(3)
            assert set(master.phases.values()) == {"Running"}
            assert runtime.journal == before


@virtual_time(settle=SETTLE)
async def test_a_master_that_lost_its_memory_is_told_what_is_held() -> None:
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        await master.tell(parts(everything(WEB, DB)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workload_sync, "_CHUNK", 10)
            first = await master.ask("web.0", "db.0")
            second = await master.ask("db.0")
        one, other = wire.DesiredInstance(WEB.key, WEB.spec), wire.DesiredInstance(DB.key, DB.spec)
        other.secrets = dict(DB.secrets)
        assert (first.instances, second.instances) == ([one], [other])
        assert "has none of" in (await master.ask("ghost.0")).error
        await until(lambda: len(running(a)) == 2)


@virtual_time(settle=SETTLE)
async def test_a_digest_that_does_not_fit_is_refused_and_a_reset_mends_it() -> None:
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        await master.tell(parts(everything(WEB)))
        ack = await master.tell(parts(Change((DB,), digest=digest(DB))))
        assert "send all of them" in ack.error
        assert ack.digest == digest(WEB)
        await asyncio.sleep(3)
        assert running(a) == {"web.0.main"}
        ack = await master.tell(parts(everything(DB)))
        assert (ack.error, ack.digest) == ("", digest(DB))
        await until(lambda: running(a) == {"db.0.main"})
        await until(lambda: master.phases == {"db.0": "Running"})


@virtual_time(settle=SETTLE)
async def test_the_same_twice_is_acknowledged_twice(tmp_path: Path) -> None:
    master = Master()
    async with scripted(master) as m, agent(m.port, data=tmp_path) as a:
        await until(lambda: master.c)
        for _ in range(3):
            ack = await master.tell(parts(everything(WEB, DB)))
            assert (ack.error, ack.digest) == ("", digest(WEB, DB))
        await until(lambda: len(running(a)) == 2)
        assert [verb for verb, _ in a.runtime.journal].count("create") == 2


@virtual_time(settle=SETTLE)
async def test_half_a_change_is_forgotten_with_its_session() -> None:
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        await master.tell(parts(everything(WEB)))
        assert master.c is not None
        await master.c.say(desired=parts(everything(DB, WEB))[0])
        await master.hang_up()
        await until(lambda: master.c)
        ack = await master.tell(parts(Change(digest=digest(WEB))))
        assert ack.error == ""
        assert running(a) == {"web.0.main"}


@virtual_time(settle=SETTLE)
async def test_a_full_disk_is_told_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    master = Master()
    async with scripted(master) as m, agent(m.port, data=tmp_path) as a:
        await until(lambda: master.c)
        await master.tell(parts(everything(WEB)))
        with monkeypatch.context() as patch:
            patch.setattr(Desired, "_write", full)
            ack = await master.tell(parts(everything(WEB, DB)))
            assert "No space left on device" in ack.error
            assert ack.digest == digest(WEB)
            await asyncio.sleep(6)
            assert master.beats[-1][1] == digest(WEB), "so the master tries again"
            assert running(a) == {"web.0.main"}
        ack = await master.tell(parts(everything(WEB, DB)))
        assert ack.error == ""
        await until(lambda: len(running(a)) == 2)


@virtual_time(settle=SETTLE)
async def test_dependencies_are_told_with_or_without_instances() -> None:
    web = spec(instance(workload("web", depends_on=needs("far"))))
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        await master.tell(parts(everything(web), wire.DependencyState("far")))
        await asyncio.sleep(5)
        assert master.report.instances["web.0"].message == "waits for far to run"
        far = wire.DependencyState("far", running=True)
        await master.tell(parts(Change(digest=digest(web)), far))
        await until(lambda: running(a) == {"web.0.main"}, 1)


# ---- statuses ----


@virtual_time(settle=SETTLE)
async def test_statuses_survive_the_outage(tmp_path: Path) -> None:
    master = Master()
    async with scripted(master) as m, agent(m.port, data=tmp_path) as a:
        await until(lambda: master.c)
        await master.tell(parts(everything(WEB, DB)))
        await until(lambda: set(master.phases.values()) == {"Running"})
        await master.hang_up()
        a.runtime.missing_images.add("localhost/fake:1")
        a.runtime.remove_by_hand("web.0.main")
        await until(lambda: master.phases.get("web.0") == "Error", 60)
        assert master.report.digest == a.reporter.report.digest
        await master.tell(parts(everything(DB)))
        await until(lambda: master.phases == {"db.0": "Running"}, 60)
        assert master.report.digest == a.reporter.report.digest


@virtual_time(settle=SETTLE)
async def test_a_runtime_that_is_away_is_said_of_all_instances() -> None:
    master, runtime = Master(), FakeRuntime()
    runtime.go_away("start Podman")
    async with scripted(master) as m, agent(m.port, runtime=runtime):
        await until(lambda: master.c)
        await master.tell(parts(everything(WEB)))
        await until(lambda: master.phases == {"web.0": "Error"})
        assert "start Podman" in master.report.instances["web.0"].message
        await master.hang_up()
        master.report = Report()
        await until(lambda: master.phases == {"web.0": "Error"})
        runtime.come_back()
        await until(lambda: master.phases == {"web.0": "Running"}, 30)


# ---- events ----


def happen(a: Agent, *messages: object) -> None:
    for message in messages:
        a.workloads.journal.note(Severity.WARNING, "web.0", "Happened", str(message))


@virtual_time(settle=SETTLE)
async def test_what_happens_is_told_at_once_in_order_and_once() -> None:
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        happen(a, *range(250))
        await until(lambda: len(master.events) == 250, 1)
        assert master.events == [str(i) for i in range(250)]
        assert sum(len(b.events) for b in master.batches) == 250
        event = master.batches[0].events[0]
        assert (event.subject, event.reason) == ("web.0", "Happened")
        assert event.severity is wire.Severity.WARNING
        assert len({b.stream for b in master.batches}) == 1


@virtual_time(settle=SETTLE)
async def test_what_was_not_acknowledged_comes_again_in_the_next_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload_sync, "_EVENTS_AGAIN", 4.0)
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        master.acknowledges = False
        happen(a, 1, 2)
        await until(lambda: len(master.batches) == 1)
        happen(a, 3)
        await asyncio.sleep(3)
        assert len(master.batches) == 1, "one batch at a time"
        await asyncio.sleep(2)
        assert len(master.batches) == 2, "and again, should the acknowledgement be lost"
        assert master.batches[1].events == master.batches[0].events
        await master.hang_up()
        happen(a, 4)
        master.acknowledges = True
        await until(lambda: len(master.events) == 4, 10)
        assert master.events == ["1", "2", "3", "4"]


@virtual_time(settle=SETTLE)
async def test_what_happened_while_the_link_was_down_survives_a_kill(tmp_path: Path) -> None:
    master = Master()
    async with scripted(master) as m:
        async with agent(m.port, data=tmp_path) as a:
            await until(lambda: master.c)
            happen(a, "connected")
            await until(lambda: master.events)
            await m.server.close()
            await asyncio.sleep(2)
            happen(a, "alone", "alone", "still alone")
            await asyncio.sleep(1)
        later = Master()
        async with scripted(later) as again, agent(again.port, data=tmp_path):
            await until(lambda: later.events)
            assert later.events == ["alone", "still alone"]
            assert [e.count for b in later.batches for e in b.events] == [2, 1]
            await asyncio.sleep(1)
            assert not await asyncio.to_thread((tmp_path / "events.jsonl").exists)


@virtual_time(settle=SETTLE)
async def test_too_much_is_told_as_lost() -> None:
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        await master.hang_up()
        happen(a, *range(600))
        await until(lambda: len(master.events) == 500, 10)
        assert (master.batches[0].lost, master.events[0]) == (100, "100")
        assert [b.lost for b in master.batches[1:]] == [0] * (len(master.batches) - 1)


# ---- the end ----


@virtual_time(settle=SETTLE)
async def test_a_node_that_is_removed_ends_its_workloads_and_forgets_them(tmp_path: Path) -> None:
    master = Master()
    async with scripted(master) as m:
        async with agent(m.port, data=tmp_path) as a:
            a.runtime.run("foreign")
            await until(lambda: master.c)
            await master.tell(parts(everything(WEB, DB)))
            await until(lambda: len(running(a)) == 3)
            assert master.c is not None
            await master.c.say(goodbye=wire.Goodbye("Removed", "out", final=True))
            async with asyncio.timeout(35):
                await a.run
            assert {c.name for c in a.runtime._containers.values()} == {"foreign"}
        left = Desired(tmp_path / "workloads")
        assert (left.load(), left.whole, left.everything) == ("", True, {})


@virtual_time(settle=SETTLE)
async def test_an_agent_that_stops_leaves_its_containers() -> None:
    master, runtime = Master(), FakeRuntime()
    async with scripted(master) as m:
        async with agent(m.port, runtime=runtime) as a:
            await until(lambda: master.c)
            await master.tell(parts(everything(WEB)))
            await until(lambda: master.phases == {"web.0": "Running"})
            await a.link.say_goodbye()
        assert running(a) == {"web.0.main"}


@virtual_time(settle=SETTLE)
async def test_a_node_that_is_cut_off_counts_from_the_last_sign_of_the_master() -> None:
    lone = spec(instance(workload("lone", on_isolation=Isolation(OnIsolation.STOP, 9))))
    master = Master()
    async with scripted(master) as m, agent(m.port) as a:
        await until(lambda: master.c)
        await master.tell(parts(everything(lone)))
        await until(lambda: running(a))
        assert master.c is not None
        master.c.acks = master.c.answers = False  # it hangs, and takes connections all the same
        master.deaf, began = True, now()
        await until(lambda: not running(a), 40)
        assert 8 < now() - began < 10, "and not from when the session was given up"
