"""What the agent knows of its containers, whatever its runtime does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

from piccolo.agent.reporter import Reporter
from piccolo.core.errors import Unavailable
from piccolo.core.model import Condition, ContainerUsage
from piccolo.core.report import Delta, Report
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.runtime.base import Containers, ContainerUsages, Runtime
from tests.master.virtual_time import now, virtual_time
from tests.runtime.fake import FakeRuntime


class Listener:
    """Keeps what a master would know."""

    def __init__(self, reporter: Reporter) -> None:
        self.report = Report(reporter.report.containers.values())
        self.deltas: list[Delta] = []
        self.conditions: list[Condition] = []
        reporter.listener = self

    def __call__(self, delta: Delta, condition: Condition | None) -> None:
        self.report.apply(delta)
        if delta:
            self.deltas.append(delta)
        if condition is not None:
            self.conditions.append(condition)

    def states(self) -> dict[str, str]:
        return {c.name: c.state for c in self.report.containers.values()}


def ready(reporter: Reporter) -> bool:
    return reporter.condition.status


@asynccontextmanager
async def reporting(runtime: Runtime | None) -> AsyncIterator[tuple[Reporter, Listener]]:
    reporter = Reporter(runtime)
    listener = Listener(reporter)
    running = asyncio.create_task(reporter.run())
    try:
        yield reporter, listener
    finally:
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled() or running.exception() is None


@virtual_time
async def test_every_change_is_told() -> None:
    runtime = FakeRuntime()
    runtime.run("web")
    async with reporting(runtime) as (reporter, listener):
        async with asyncio.timeout(1):
            await reporter.looked.wait()
        assert listener.states() == {"web": "running"}
        assert [(c.status, c.message) for c in listener.conditions] == [(True, "Podman 4.3.1")]
        runtime.end("web", 3)
        runtime.run("db")
        await asyncio.sleep(0.1)
        assert listener.states() == {"web": "exited", "db": "running"}
        runtime.remove_by_hand("web")
        runtime.rename("db", "store")
        await asyncio.sleep(0.1)
        assert listener.states() == {"store": "running"}
        assert listener.report.digest == reporter.report.digest
        told = len(listener.deltas)
        await asyncio.sleep(600)
        assert len(listener.deltas) == told, "the slow look found nothing new, and tells nothing"
        assert len(listener.conditions) == 1


class Forgetful(FakeRuntime):
    """Its events get lost."""

    forgets = False

    def _tell(self, id: str) -> None:
        if not self.forgets:
            super()._tell(id)


@virtual_time
async def test_a_missed_event_is_made_up_for_within_a_minute() -> None:
    runtime = Forgetful()
    async with reporting(runtime) as (_, listener):
        await asyncio.sleep(1)
        runtime.forgets = True
        runtime.run("web")
        await asyncio.sleep(50)
        assert listener.states() == {}
        await asyncio.sleep(11)
        assert listener.states() == {"web": "running"}
        runtime.remove_by_hand("web")
        await asyncio.sleep(61)
        assert listener.states() == {}


@virtual_time
async def test_events_all_the_time_do_not_put_off_the_slow_look() -> None:
    runtime = Forgetful()
    runtime.run("busy")
    async with reporting(runtime) as (_, listener):
        await asyncio.sleep(1)
        runtime.forgets = True
        runtime.run("web")
        runtime.forgets = False
        for number in range(700):
            runtime.end("busy", number)
            await asyncio.sleep(0.1)
        assert listener.states()["web"] == "running"


@virtual_time
async def test_a_runtime_that_goes_away_and_comes_back() -> None:
    runtime = FakeRuntime()
    runtime.run("web")
    async with reporting(runtime) as (reporter, listener):
        await asyncio.sleep(1)
        assert await reporter.usage()
        runtime.go_away("the socket is gone; start Podman")
        await asyncio.sleep(1)
        assert not ready(reporter)
        assert reporter.condition.reason == "RuntimeUnavailable"
        assert "start Podman" in reporter.condition.message
        assert listener.states() == {"web": "running"}, "what was last known"
        assert await reporter.usage() == []

        calls = runtime.calls["version"]
        await asyncio.sleep(300)
        assert 15 < runtime.calls["version"] - calls < 50, "it tries on, but not all the time"
        assert len(listener.conditions) == 3, "the stream broke; it is away: each told once"
        runtime.come_back()
        runtime.end("web")
        await asyncio.sleep(16)
        assert ready(reporter)
        assert listener.states() == {"web": "exited"}
        runtime.start_by_hand("web")
        await asyncio.sleep(0.1)
        assert listener.states() == {"web": "running"}, "events come again"
        assert [c.status for c in listener.conditions] == [True, False, False, True]


@virtual_time
async def test_an_agent_starts_without_its_runtime() -> None:
    runtime = FakeRuntime()
    runtime.go_away()
    async with reporting(runtime) as (reporter, listener):
        await reporter.looked.wait()
        assert now() < 1, "the master is not kept waiting"
        assert not ready(reporter)
        runtime.come_back()
        runtime.run("web")
        await asyncio.sleep(5)
        assert ready(reporter)
        assert listener.states() == {"web": "running"}


@virtual_time
async def test_a_node_without_runtime_says_what_to_do() -> None:
    async with reporting(None) as (reporter, _):
        await reporter.looked.wait()
        assert reporter.condition.reason == "NoRuntime"
        assert "podman.socket" in reporter.condition.message
        assert await reporter.usage() == []


class Slow(FakeRuntime):
    """Hangs, until its caller's patience ends: as Podman under a full disk."""

    hangs = False

    async def _hang(self) -> None:
        if self.hangs:
            await asyncio.sleep(10)
            raise Unavailable("Podman did not answer within 10 s")

    async def list(self, ids: Collection[str] | None = None) -> Containers:
        await self._hang()
        return await super().list(ids)

    async def usage(self) -> ContainerUsages:
        await self._hang()
        return await super().usage()


@virtual_time
async def test_a_runtime_that_hangs_is_a_finding_and_is_right_again_later() -> None:
    runtime = Slow()
    runtime.run("web")
    async with reporting(runtime) as (reporter, listener):
        await asyncio.sleep(1)
        runtime.hangs = True
        runtime.end("web")
        await asyncio.sleep(5)
        assert ready(reporter)
        await asyncio.sleep(10)
        assert not ready(reporter)
        assert "did not answer" in reporter.condition.message
        runtime.hangs = False
        await asyncio.sleep(30)
        assert ready(reporter)
        assert listener.states() == {"web": "exited"}


@virtual_time
async def test_usage_is_asked_of_the_runtime() -> None:
    runtime = FakeRuntime()
    id = runtime.run("web")
    runtime.use("web", 7.0, 123)
    async with reporting(runtime) as (reporter, _):
        await asyncio.sleep(1)
        assert await reporter.usage() == [ContainerUsage(id, 7.0, 123)]


# ---- instances ----


@virtual_time
async def test_news_of_instances_is_told_once() -> None:
    web, db = InstanceStatus("web", 0, 1), InstanceStatus("db", 0, 1)
    reporter = Reporter(FakeRuntime())
    listener = Listener(reporter)
    reporter.instances([web, db])
    before = reporter.report.digest
    reporter.instances([web, replace(db, ready=True)], removed=["gone.0"])
    assert [d.instances for d in listener.deltas] == [(web, db), (replace(db, ready=True),)]
    assert reporter.report.digest == listener.report.digest != before
    reporter.instances(removed=["web.0"])
    reporter.instances(removed=["web.0"])
    assert [d.removed_instances for d in listener.deltas] == [(), (), ("web.0",)]
    assert reporter.report.instances.keys() == {"db.0"}


@virtual_time
async def test_an_observer_is_told_what_the_runtime_says() -> None:
    runtime = FakeRuntime()
    runtime.run("web")
    seen: list[tuple[list[str], bool]] = []
    async with reporting(runtime) as (reporter, _):
        reporter.observer = lambda delta, condition: seen.append(
            ([c.name for c in delta.changed], bool(condition and condition.status))
        )
        await asyncio.sleep(1)
        reporter.instances([InstanceStatus("web", 0, 1)])
        runtime.go_away()
        await asyncio.sleep(1)
        assert seen[:3] == [(["web"], False), ([], True), ([], False)]
