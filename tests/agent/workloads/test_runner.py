"""The runner of an instance, on a runtime without containers and in virtual time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from piccolo.agent.workloads import records
from piccolo.agent.workloads.runner import PodRunner
from piccolo.core.errors import Unavailable
from piccolo.core.model import Severity
from piccolo.core.pods.restarts import End
from piccolo.core.workloads.containers import (
    Container,
    ExecCheck,
    File,
    Mount,
    MountKind,
    Port,
    Probe,
    Probes,
    SecretKey,
)
from piccolo.core.workloads.instances import Instance, InstanceStatus, Phase, Secrets
from piccolo.core.workloads.workload import Restart, RestartPolicy, Workload
from piccolo.runtime.base import Bind, Refusal, Refused
from tests.master.virtual_time import now, virtual_time
from tests.runtime.fake import Command, FakeRuntime, Script

NODE = "n" * 32
MAIN = "web.0.main"


def instance(
    *containers: Container, hash: str = "h1", generation: int = 1, **more: object
) -> Instance:
    workload = Workload("web", containers or (Container("main", "image"),))
    return Instance(replace(workload, **more), 0, generation, hash)  # type: ignore[arg-type]


class World:
    """A node with one instance; stands in for the supervisor."""

    def __init__(self, directory: Path, asked: Instance, secrets: Secrets | None = None) -> None:
        directory.chmod(0o700)
        self.directory = directory
        self.asked = asked
        self.secrets = secrets or {}
        self.runtime = FakeRuntime()
        self.statuses: list[InstanceStatus] = []
        self.told: list[tuple[str, str]] = []
        self.why = ""
        self.changed = asyncio.Event()

    # ---- surroundings ----

    def status(self, status: InstanceStatus) -> None:
        assert not self.statuses or status != self.statuses[-1], "no news"
        self.statuses.append(status)
        self.changed.set()

    def happened(self, severity: Severity, subject: str, reason: str, message: str) -> None:
        assert subject == "web.0"
        self.told.append((reason, message))

    def blocked(self, instance: Instance) -> str:
        return self.why

    # ---- the rest of the node ----

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[PodRunner]:
        """One agent; when it is left, it was killed."""
        runner = PodRunner(self.runtime, self.asked, self.secrets, self.directory, NODE, self)
        runner.observed(await self.runtime.list())
        running = asyncio.create_task(runner.run())
        following = asyncio.create_task(self._follow(runner))
        try:
            yield runner
        finally:
            following.cancel()
            running.cancel()
            await asyncio.wait([following, running])
            assert running.cancelled() or running.exception() is None, running.exception()

    async def _follow(self, runner: PodRunner) -> None:
        while True:
            with suppress(Unavailable):
                async with aclosing(self.runtime.changes()) as changes:
                    async for _ in changes:
                        runner.observed(await self.runtime.list())
            await asyncio.sleep(1.0)

    async def shows(self, phase: Phase, within: float = 5.0) -> InstanceStatus:
        async with asyncio.timeout(within):
            while not self.statuses or self.statuses[-1].phase is not phase:
                self.changed.clear()
                await self.changed.wait()
        return self.statuses[-1]

    def disk(self, folder: str = "") -> list[str]:
        return [path.name for path in (self.directory / folder).iterdir()]

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.runtime.journal]


def content(bind: Bind) -> str:
    return Path(bind.source).read_text()


@virtual_time
async def test_it_runs_without_any_wait(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    async with world.agent():
        began = now()
        status = await world.shows(Phase.RUNNING)
        assert now() == began
        assert (status.ready, status.hash, status.generation) == (True, "h1", 1)
        assert status.since is not None
        assert world.verbs == ["ensure_image", "create", "start"]
        assert world.told == [("Started", "generation 1 runs")]
        await asyncio.sleep(3600)
        assert world.runtime.calls["inspect"] == 0
        assert world.runtime.calls["list"] < 10


@virtual_time
async def test_what_it_asks_for(tmp_path: Path) -> None:
    secrets = {"db/password": base64.b64encode(b"hush").decode()}
    main = Container(
        "main",
        "image",
        secret_env={"PASSWORD": SecretKey("db", "password")},
        files=(File("/etc/conf", "a=1"),),
        mounts=(Mount("/s", MountKind.SCRATCH, "s"),),
        ports=(Port(80, 8080),),
    )
    world = World(
        tmp_path, instance(main, Container("side", "image"), labels={"tier": "x"}), secrets
    )
    async with world.agent() as runner:
        await world.shows(Phase.RUNNING)
        request = world.runtime.requests[MAIN]
        assert request.secret_env == {"PASSWORD": "hush"}
        assert content(request.binds[0]) == "a=1"
        assert (request.pod, request.network, request.scratch) == ("web.0", None, "web.0.")
        labels = {
            "tier": "x",
            "io.piccolo.instance": "web.0",
            "io.piccolo.workload": "web",
            "io.piccolo.hash": "h1",
            "io.piccolo.node": NODE,
        }
        assert request.labels == {**labels, "io.piccolo.container": "main"}
        assert await world.runtime.pods({}) == {"web.0": labels}
        assert world.runtime.volumes == {"web.0.s"}
        runner.retire()
        await asyncio.sleep(1)
        assert world.statuses[-1].phase is Phase.STOPPING
    assert await world.runtime.list() == []
    assert await world.runtime.pods({}) == {}
    assert world.runtime.volumes == set()
    assert world.disk() == []


@virtual_time
async def test_killed_it_leaves_the_containers_to_the_next(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    async with world.agent():
        await world.shows(Phase.RUNNING)
    journal = list(world.runtime.journal)
    world.statuses.clear()
    async with world.agent():
        await world.shows(Phase.RUNNING)
        await asyncio.sleep(100)
    assert world.runtime.journal == journal


@virtual_time
async def test_killed_at_any_moment_it_makes_nothing_twice(tmp_path: Path) -> None:
    one, two = Container("one", "image"), Container("two", "image")
    world = World(tmp_path, instance(one, two, restart=Restart(RestartPolicy.NEVER)))
    verbs = ("ensure_image", "pods", "create_pod", "create", "start")
    world.runtime.delays = dict.fromkeys(verbs, 0.1)
    for tenth in range(1, 12):
        async with world.agent():
            await asyncio.sleep(tenth * 0.05)
    async with world.agent() as runner:
        await world.shows(Phase.RUNNING)
        names = sorted(c.name for c in await world.runtime.list())
        assert names == ["web.0.one", "web.0.two"]
        runner.retire()
        await asyncio.sleep(5)
    assert await world.runtime.list() == []


@virtual_time
async def test_an_end_is_told_with_its_last_lines(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    world.runtime.scripts[MAIN] = Script(exit_code=3, after=1.0, lines=("first", "oh no"))
    async with world.agent():
        await world.shows(Phase.CRASH_LOOP, within=30)
        await asyncio.sleep(0.1)
        reasons = [reason for reason, _ in world.told]
        assert reasons == ["Started", "Crashed", "Crashed", "Crashed"]
        text = world.told[1][1]
        assert text.startswith("container main ended with exit code 3; started again now")
        assert text.endswith("last lines:\nfirst\noh no")
        assert world.statuses[-1].exit_code == 3
        world.runtime.scripts.clear()
        status = await world.shows(Phase.RUNNING, within=30)
        assert status.restarts == 3


@virtual_time
async def test_the_last_lines_are_read_before_the_next_run_writes_others(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    world.runtime.scripts[MAIN] = Script(exit_code=3, after=1.0, lines=("oh no",))
    world.runtime.delays["tail"] = 0.5
    async with world.agent():
        await world.shows(Phase.RUNNING)
        world.runtime.scripts[MAIN] = Script(lines=("all is well",))
        await asyncio.sleep(1.2)
        assert world.verbs.count("start") == 1
        await asyncio.sleep(1)
        assert world.told[1][1].endswith("last lines:\noh no")
        assert world.verbs.count("start") == 2


@virtual_time
async def test_a_log_that_cannot_be_read_delays_a_restart_a_little(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    world.runtime.scripts[MAIN] = Script(exit_code=3, after=1.0, lines=("oh no",))
    world.runtime.delays["tail"] = 1000.0
    async with world.agent():
        await world.shows(Phase.RUNNING)
        world.runtime.scripts.clear()
        await asyncio.sleep(7)
        assert world.verbs.count("start") == 2
        assert world.told[1][1] == "container main ended with exit code 3; started again now"


@virtual_time
async def test_a_job_is_run_once_even_over_a_power_cut(tmp_path: Path) -> None:
    asked = instance(restart=Restart(RestartPolicy.NEVER))
    world = World(tmp_path, asked)
    world.runtime.scripts[MAIN] = Script(exit_code=0, after=1.0)
    async with world.agent():
        await world.shows(Phase.COMPLETED)
        await asyncio.sleep(1)
    record = records.load(tmp_path)
    assert record.started == ("main",)
    assert record.ended == {"main": End(0, "", "ended with exit code 0")}
    world.runtime.remove_by_hand(MAIN)
    world.statuses.clear()
    async with world.agent():
        await world.shows(Phase.COMPLETED)
        await asyncio.sleep(100)
    assert world.verbs.count("start") == 1


@virtual_time
async def test_it_waits_for_what_it_depends_on(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    world.why = "it waits for db"
    async with world.agent() as runner:
        await asyncio.sleep(60)
        status = await world.shows(Phase.WAITING)
        assert (status.reason, status.message) == ("DependencyNotReady", "it waits for db")
        world.why = ""
        runner.wake()
        await world.shows(Phase.RUNNING)


@virtual_time
async def test_another_version_replaces_it(tmp_path: Path) -> None:
    main = Container("main", "image", files=(File("/etc/conf", "a=1"),))
    world = World(tmp_path, instance(main))
    async with world.agent() as runner:
        await world.shows(Phase.RUNNING)
        main = replace(main, files=(File("/etc/conf", "a=2"),))
        runner.update(instance(main, hash="h2", generation=2), {})
        await asyncio.sleep(1)
        status = await world.shows(Phase.RUNNING)
        assert (status.generation, status.hash) == (2, "h2")
        (bind,) = world.runtime.requests[MAIN].binds
        assert content(bind) == "a=2"
        assert world.disk("files") == ["h2"]
        runner.update(instance(main, hash="h2", generation=3), {})
        await asyncio.sleep(1)
        assert world.statuses[-1].generation == 3
        assert world.verbs.count("start") == 2


@virtual_time
async def test_a_hanging_probe_fails_and_the_container_is_restarted(tmp_path: Path) -> None:
    probe = Probe(exec=ExecCheck(("check",)), interval=2.0, timeout=1.0, failures=2)
    world = World(tmp_path, instance(Container("main", "image", probes=Probes(liveness=probe))))
    world.runtime.commands["check"] = Command(takes=3600.0)
    async with world.agent():
        await asyncio.sleep(3.5)
        assert world.verbs.count("start") == 2
        assert world.told[1][0] == "Unhealthy"
        assert "no answer within 1 s" in world.told[1][1]
        world.runtime.commands.clear()
        await asyncio.sleep(60)
        assert (await world.shows(Phase.RUNNING)).ready


@virtual_time
async def test_isolated_it_is_stopped_and_runs_again(tmp_path: Path) -> None:
    world = World(tmp_path, instance(stop_grace=3.0))
    world.runtime.scripts[MAIN] = Script(ignores_stop=True)
    async with world.agent() as runner:
        await world.shows(Phase.RUNNING)
        runner.hold("no master")
        await world.shows(Phase.STOPPING)
        began = now()
        status = await world.shows(Phase.WAITING)
        assert (status.reason, now() - began) == ("Isolated", 3.0)
        runner.hold(None)
        await world.shows(Phase.RUNNING)


@virtual_time
async def test_what_the_runtime_refuses_is_the_status(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    world.runtime.fail("start", Refused(Refusal.PORT_TAKEN, "port 80 is in use"), times=3)
    async with world.agent():
        status = await world.shows(Phase.ERROR)
        assert (status.reason, status.message) == (
            "PortTaken",
            "port 80 is in use; tried again within a minute",
        )
        await world.shows(Phase.RUNNING, within=10)
        assert [reason for reason, _ in world.told] == ["PortTaken", "Started"]


@virtual_time
async def test_a_runtime_that_comes_and_goes_restarts_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    async with world.agent() as runner:
        await world.shows(Phase.RUNNING)
        news = len(world.statuses)
        for _ in range(3):
            world.runtime.go_away()
            runner.observed([])  # nonsense, from before
            await asyncio.sleep(40)
            world.runtime.come_back()
            await asyncio.sleep(20)
        assert len(world.statuses) == news
        assert world.verbs.count("start") == 1


@virtual_time
async def test_away_at_the_first_start_it_begins_when_it_is_back(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    async with world.agent():
        world.runtime.go_away()
        await asyncio.sleep(100)
        assert {status.phase for status in world.statuses} <= {Phase.WAITING}
        last = world.statuses[-1]
        assert (last.reason, last.message) == (
            "RuntimeUnavailable",
            "there is no socket; start Podman",
        )
        world.runtime.come_back()
        await world.shows(Phase.RUNNING, within=20)


@pytest.mark.parametrize(
    ("main", "reason"),
    [
        (Container("main", "image", secret_env={"A": SecretKey("s", "missing")}), "SecretMissing"),
        (Container("main", "image", secret_env={"A": SecretKey("s", "binary")}), "Refused"),
    ],
)
@virtual_time
async def test_a_secret_that_cannot_be_had(main: Container, reason: str, tmp_path: Path) -> None:
    world = World(tmp_path, instance(main), {"s/binary": base64.b64encode(b"\xff").decode()})
    async with world.agent():
        status = await world.shows(Phase.ERROR)
        assert status.reason == reason


@virtual_time
async def test_a_full_disk_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device", "conf")

    world = World(tmp_path, instance(Container("main", "image", files=(File("/c", "a"),))))
    with monkeypatch.context() as patched:
        patched.setattr("piccolo.agent.workloads.files._write", fails)
        async with world.agent():
            status = await world.shows(Phase.ERROR)
            assert status.reason == "DiskFull"
            assert "make room" in status.message
            patched.undo()
            await world.shows(Phase.RUNNING)


@virtual_time
async def test_retired_it_does_not_wait_for_an_image(tmp_path: Path) -> None:
    world = World(tmp_path, instance())
    world.runtime.delays["ensure_image"] = 600.0
    async with world.agent() as runner:
        await world.shows(Phase.PULLING)
        runner.retire()
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) <= 2  # the test, and who follows the runtime
