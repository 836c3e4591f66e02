"""What runs on a node, against what is to run there: with a real runner for each instance."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from piccolo.agent.workloads import slot
from piccolo.agent.workloads.desired import Change, Desired, Spec
from piccolo.agent.workloads.requests import scratch
from piccolo.agent.workloads.runner import PodRunner
from piccolo.agent.workloads.throttled import FETCHES, STARTS
from piccolo.core.errors import Unavailable
from piccolo.core.workloads.containers import Container, Mount, MountKind
from piccolo.core.workloads.instances import DependencyState
from piccolo.core.workloads.workload import Isolation, OnIsolation, Workload
from piccolo.runtime.base import PodRequest
from tests.agent.workloads.node import eventually, labels, node
from tests.agent.workloads.specs import digest, everything, instance, needs, spec, workload
from tests.master.virtual_time import freeze, now, virtual_time
from tests.runtime.fake import FakeRuntime, Script

WEB, DB = spec("web"), spec("db")


# ---- what is wanted runs ----


@virtual_time
async def test_what_is_wanted_runs_and_what_is_not_any_more_goes(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        n.runtime.run("foreign")
        assert await n.ask(everything(WEB, DB)) == ""
        assert n.phases.keys() == {"web.0", "db.0"}, "at once"
        await eventually(lambda: n.running == {"web.0.main", "db.0.main", "foreign"})
        await eventually(lambda: set(n.phases.values()) == {"Running"})
        assert await n.ask(Change(removed=frozenset(["db.0"]), digest=digest(WEB))) == ""
        await eventually(lambda: n.containers == {"web.0.main", "foreign"})
        await eventually(lambda: n.phases.keys() == {"web.0"})
        assert n.removed == ["db.0"]
        assert {p.name for p in (tmp_path / "instances").iterdir()} == {"web.0"}


@virtual_time
async def test_another_spec_replaces_the_containers_and_the_same_does_not(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything(WEB))
        await eventually(lambda: n.phases == {"web.0": "Running"})
        before = n.runtime.journal.copy()
        only_number = spec(instance("web", generation=2))
        await n.ask(everything(only_number))
        await eventually(lambda: n.statuses["web.0"].generation == 2)
        assert n.runtime.journal == before, "no container was touched"
        await n.ask(everything(spec(instance("web", generation=3, env="new"))))
        await eventually(lambda: n.statuses["web.0"].generation == 3)
        await eventually(lambda: n.phases == {"web.0": "Running"})
        assert [name for verb, name in n.runtime.journal if verb == "create"] == ["web.0.main"] * 2


@virtual_time
async def test_what_is_removed_and_wanted_again_at_once_runs_once(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        n.runtime.scripts["web.0.main"] = Script(ignores_stop=True)
        await n.ask(everything(WEB))
        await eventually(lambda: n.phases == {"web.0": "Running"})
        await n.ask(everything())
        await asyncio.sleep(1)
        assert n.phases == {"web.0": "Stopping"}
        await n.ask(everything(spec(instance("web", generation=2))))
        await n.ask(everything())
        await n.ask(everything(spec(instance("web", generation=3))))
        await eventually(lambda: n.phases == {"web.0": "Running"})
        assert n.statuses["web.0"].generation == 3
        assert n.running == {"web.0.main"}
        assert n.removed == [], "master and people saw it stop and start"


@virtual_time
async def test_what_is_removed_and_wanted_again_is_not_taken_to_run_still(tmp_path: Path) -> None:
    """By a listing that is older than the removal: it waits for what it depends on now."""
    async with node(tmp_path) as n:
        n.workloads.connected()
        await n.ask(everything(WEB))
        await eventually(lambda: n.phases == {"web.0": "Running"})
        n.runtime.delays["list"] = 1  # so that it is older
        await n.ask(everything())
        waits = spec(instance(workload("web", depends_on=needs("far")), generation=2))
        await n.ask(everything(waits))
        await asyncio.sleep(30)
        assert n.containers == set()
        assert n.statuses["web.0"].message == "waits for far to run"
        assert n.events() == ["Started of web.0"], "by hand nobody removed it"
        await n.ask(Change(digest=digest(waits)), [DependencyState("far", running=True)])
        await eventually(lambda: n.phases == {"web.0": "Running"})


# ---- boots, kills ----


@virtual_time
async def test_an_agent_that_ends_leaves_containers_and_the_next_adopts_them(
    tmp_path: Path,
) -> None:
    runtime = FakeRuntime()
    async with node(tmp_path, runtime) as n:
        await n.ask(everything(WEB, DB))
        await eventually(lambda: len(n.running) == 2)
    before = runtime.journal.copy()
    async with node(tmp_path, runtime) as n:
        await eventually(lambda: set(n.phases.values()) == {"Running"})
        await asyncio.sleep(120)
        assert runtime.journal == before


@virtual_time
async def test_an_agent_that_finds_containers_has_one_task_for_each_instance(
    tmp_path: Path,
) -> None:
    """Of two, sooner or later each would remove what the other one makes."""
    runtime = FakeRuntime()
    async with node(tmp_path, runtime) as n:
        await n.ask(everything(WEB, DB))
        await eventually(lambda: len(n.running) == 2)
    async with node(tmp_path, runtime) as n:
        await eventually(lambda: set(n.phases.values()) == {"Running"})
        names = sorted(task.get_name() for task in asyncio.all_tasks())
        assert [name for name in names if name.startswith("instance ")] == [
            "instance db.0",
            "instance web.0",
        ]


@virtual_time
async def test_a_cold_boot_without_a_master_starts_all(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything(WEB, DB, spec("api", **{"s/k": "dg=="})))
    async with node(tmp_path) as n:
        await eventually(lambda: n.running == {"web.0.main", "db.0.main", "api.0.main"})


@virtual_time
async def test_what_is_left_of_what_is_not_wanted_is_removed_and_nothing_else(
    tmp_path: Path,
) -> None:
    """As after a kill in the middle of removing."""
    pod = workload("pod")
    pair = Workload("pod", (*pod.containers, Container("second", "i")))
    pair_spec = spec(instance(pair))
    runtime = FakeRuntime()
    async with node(tmp_path, runtime) as n:
        await n.ask(everything(WEB, DB, pair_spec))
        await eventually(lambda: len(n.running) == 4)
    assert Desired(tmp_path / "workloads").load() == ""
    held = Desired(tmp_path / "workloads")
    held.load()
    held.take_over(everything(WEB))  # and then it was killed

    others = ["theirs", "elsewhere", "odd"]
    runtime.run("theirs", labels={"app": "db.0"})
    runtime.run("elsewhere", labels=labels("db.0", node="id-n2"))
    runtime.run("odd", labels=labels("no key"))
    await runtime.create_pod(PodRequest("empty", labels("gone.3"), pair.network))
    await runtime.create_pod(PodRequest("foreign", labels("x.0", node="id-n2"), pair.network))
    (tmp_path / "instances" / "old.7").mkdir()
    runtime.volumes |= {"old.7.scratch", "old.77.scratch", "mine"}
    before = runtime.journal.copy()
    async with node(tmp_path, runtime) as n:
        await eventually(lambda: n.containers == {"web.0.main", *others})
        await eventually(lambda: n.phases == {"web.0": "Running"})
        await eventually(lambda: "old.7.scratch" not in runtime.volumes)
        assert set(await runtime.pods({})) == {"foreign"}
        assert runtime.volumes == {"old.77.scratch", "mine"}
        assert {p.name for p in (tmp_path / "instances").iterdir()} == {"web.0"}
        touched = {name for _, name in runtime.journal[len(before) :]}
        assert not touched & {"web.0.main", *others}
        assert set(n.removed) >= {"db.0", "pod.0"}, "they were told of while they lasted"


@virtual_time
async def test_leftovers_are_removed_though_the_runtime_is_difficult(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything())
    runtime = FakeRuntime()
    runtime.run("old", labels=labels("old.0"))
    for verb in ("pods", "stop", "remove", "remove_volumes"):
        runtime.fail(verb, Unavailable(verb), times=2)
    async with node(tmp_path, runtime) as n:
        await eventually(lambda: n.containers == set(), 120)
        await eventually(lambda: n.phases == {}, 120)
        assert n.events() == [], "no defect of ours"


@pytest.mark.parametrize("how", ["missing", "damaged", "unreadable"])
@virtual_time
async def test_nothing_is_removed_before_it_is_sure_what_is_wanted(
    how: str, tmp_path: Path
) -> None:
    runtime = FakeRuntime()
    async with node(tmp_path, runtime) as n:
        await n.ask(everything(WEB, DB))
        await eventually(lambda: len(n.running) == 2)
    path = tmp_path / "workloads" / "desired"
    if how == "damaged":
        path.write_bytes(path.read_bytes().replace(b" web.0 ", b" wob.0 "))
    else:
        path.unlink()
        if how == "unreadable":
            path.mkdir()
    runtime.run("old", labels=labels("old.0"))
    before = runtime.journal.copy()
    async with node(tmp_path, runtime) as n:
        await asyncio.sleep(120)
        assert n.running == {"web.0.main", "db.0.main", "old"}
        assert runtime.journal == before
        assert n.workloads.held() == {}, "the master is asked for everything"
        damage = ["DesiredStateDamaged of "] if how != "missing" else []
        assert [e for e in n.events() if e.startswith("Desired")] == damage
        assert await n.ask(Change((WEB,), digest=digest(WEB))) == ""
        await eventually(lambda: n.containers == {"web.0.main"})
        assert n.workloads.held().keys() == {"web.0"}


@pytest.mark.parametrize("seed", range(12))
@virtual_time
async def test_killed_at_any_moment_it_comes_to_what_is_wanted(seed: int, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    for verb in ("create", "start", "stop", "remove", "ensure_image"):
        runtime.delays[verb] = 0.07
    for turn in range(8):
        wanted = [WEB, DB, spec(instance("db", 0, turn + 2, env=f"{turn}"))][turn % 3 :]
        wanted = list({s.key: s for s in wanted}.values())
        async with node(tmp_path, runtime) as n:
            await n.ask(everything(*wanted))
            await asyncio.sleep(0.013 * ((seed * 7 + turn * 5) % 40))
    async with node(tmp_path, runtime) as n:
        names = {f"{s.key}.main" for s in wanted}
        await eventually(lambda: n.running == n.containers == names, 60)
        await eventually(lambda: n.phases == {s.key: "Running" for s in wanted})


# ---- the runtime is not there ----


@virtual_time
async def test_without_a_runtime_the_statuses_say_so(tmp_path: Path) -> None:
    async with node(tmp_path, absent=True) as n:
        assert await n.ask(everything(WEB, DB)) == ""
        for status in n.statuses.values():
            assert (str(status.phase), status.reason) == ("Error", "NoRuntime")
            assert "systemctl enable --now podman.socket" in status.message
        await n.ask(everything(WEB))
        assert n.phases.keys() == {"web.0"}
        async with asyncio.timeout(5):
            await n.workloads.leave()
        assert n.phases == {}


@virtual_time
async def test_a_runtime_that_is_away_at_the_start_and_comes(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    runtime.delays["version"] = 1
    async with node(tmp_path, runtime) as n:
        await n.ask(everything(WEB, DB))
        runtime.go_away("start Podman")
        assert n.phases == {"web.0": "Waiting", "db.0": "Waiting"}
        await eventually(lambda: n.statuses["web.0"].reason == "RuntimeUnavailable")
        assert "start Podman" in n.statuses["web.0"].message
        await n.ask(everything(WEB))
        assert n.phases.keys() == {"web.0"}
        runtime.come_back()
        await eventually(lambda: n.phases == {"web.0": "Running"})


@virtual_time
async def test_a_node_that_leaves_does_not_wait_for_a_runtime_that_never_came(
    tmp_path: Path,
) -> None:
    runtime = FakeRuntime()
    runtime.go_away()
    async with node(tmp_path, runtime) as n:
        await n.ask(everything(WEB))
        async with asyncio.timeout(1):
            await n.workloads.leave()
        assert n.phases == {}


@virtual_time
async def test_a_runtime_that_goes_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything(WEB))
        await eventually(lambda: n.phases == {"web.0": "Running"})
        before = n.runtime.journal.copy()
        n.runtime.go_away()
        await asyncio.sleep(60)
        n.runtime.come_back()
        await asyncio.sleep(60)
        assert n.phases == {"web.0": "Running"}
        assert n.runtime.journal == before


@virtual_time
async def test_what_is_asked_for_while_the_runtime_is_away_says_so(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything(WEB))
        await eventually(lambda: n.phases == {"web.0": "Running"})
        before = n.statuses["web.0"]
        n.runtime.go_away("there is no socket: start Podman")
        await n.ask(everything(WEB, DB))
        await eventually(lambda: n.statuses["db.0"].reason == "RuntimeUnavailable", 1)
        assert n.statuses["db.0"].message == "there is no socket: start Podman"
        assert n.phases["db.0"] == "Waiting"
        assert n.statuses["web.0"] == before
        n.runtime.come_back()
        await eventually(lambda: n.phases == {"web.0": "Running", "db.0": "Running"})
        assert n.statuses["db.0"].reason == ""


# ---- few at a time ----


class Counting(FakeRuntime):
    def __init__(self) -> None:
        super().__init__()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def _ask(self, verb: str, subject: str = "") -> Any:
        kind = "start" if verb in ("create", "start", "create_pod") else verb
        self.now[kind] += 1
        self.most[kind] = max(self.most[kind], self.now[kind])
        try:
            return await super()._ask(verb, subject)
        finally:
            self.now[kind] -= 1


@virtual_time
async def test_a_boot_starts_a_few_at_a_time(tmp_path: Path) -> None:
    runtime = Counting()
    runtime.delays |= {"create": 0.05, "start": 0.1}
    async with node(tmp_path, runtime) as n:
        await n.ask(everything(*(spec(f"w{i}") for i in range(60))))
        await eventually(lambda: len(n.running) == 60)
        assert runtime.most["start"] == STARTS


@virtual_time
async def test_who_has_its_image_does_not_wait_for_registries(tmp_path: Path) -> None:
    remote = [
        spec(instance(Workload(f"far{i}", (Container("main", f"registry/{i}"),))))
        for i in range(10)
    ]
    runtime = Counting()
    runtime.remote |= {f"registry/{i}" for i in range(10)}

    real = runtime.ensure_image

    async def ensure(image: str, pull: Any) -> str:
        if image in runtime.remote and pull != "Never":
            runtime.now["fetch"] += 1
            runtime.most["fetch"] = max(runtime.most["fetch"], runtime.now["fetch"])
            await asyncio.sleep(100)
            runtime.now["fetch"] -= 1
        return await real(image, pull)

    runtime.ensure_image = ensure  # type: ignore[method-assign]
    async with node(tmp_path, runtime) as n:
        await n.ask(everything(*remote, WEB))
        await eventually(lambda: n.running == {"web.0.main"}, 5)
        await eventually(lambda: len(n.running) == 11, 500)
        assert runtime.most["fetch"] == FETCHES


# ---- defects ----


@pytest.mark.parametrize("where", ["run", "observed", "update", "wake"])
@virtual_time
async def test_a_runner_that_fails_takes_nobody_with_it(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = True
    real: Any = getattr(PodRunner, where)

    def fails(self: PodRunner, *args: Any) -> Any:
        if failing and self._instance.key == "web.0":
            raise ZeroDivisionError("a defect")
        return real(self, *args)

    said: list[str] = []
    async with node(tmp_path) as n:
        n.reporter.listener = lambda delta, _: said.extend(
            f"{s.phase} {s.reason}" for s in delta.instances
        )
        await n.ask(everything(WEB, DB))
        await eventually(lambda: set(n.phases.values()) == {"Running"})
        monkeypatch.setattr(PodRunner, where, fails)
        newer = spec(instance(workload("web", depends_on=needs("x")), generation=2, env="y"))
        await n.ask(everything(newer, DB), [DependencyState("x", running=True)])
        if where == "observed":
            n.runtime.kill("web.0.main")
        elif where == "run":
            n.workloads._supervisor._slots["web.0"]._defect = ZeroDivisionError()
            n.workloads._supervisor._slots["web.0"]._task.cancel()  # type: ignore[union-attr]
        elif where == "wake":
            n.workloads._supervisor.wake({"x"})
            n.workloads._supervisor.wake({"x"})
        await eventually(lambda: "Error AgentDefect" in said)
        assert "AgentDefect of web.0" in n.events()
        assert n.phases["db.0"] == "Running"
        failing = False
        n.workloads.connected()
        await n.ask(Change(digest=digest(newer, DB)), [DependencyState("x", running=True)])
        await eventually(lambda: n.phases["web.0"] == "Running", 120)
        assert n.statuses["web.0"].generation == 2
        assert n.running == {"web.0.main", "db.0.main"}


@virtual_time
async def test_a_runner_that_cannot_even_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def fails(*_: Any, **__: Any) -> Any:
        nonlocal made
        made += 1
        raise ZeroDivisionError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(slot, "PodRunner", fails)
        async with node(tmp_path) as n:
            await n.ask(everything(WEB))
            await asyncio.sleep(120)
            assert 5 <= made <= 12, "with pauses that grow"
            assert n.statuses["web.0"].reason == "AgentDefect"
            await n.ask(everything())
            await eventually(lambda: n.phases == {})


@virtual_time
async def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        (tmp_path / "instances" / "web.0").write_text("in the way")
        await n.ask(everything(WEB, DB))
        await eventually(lambda: n.statuses["web.0"].reason == "Unavailable")
        assert "web.0" in n.statuses["web.0"].message
        (tmp_path / "instances" / "web.0").unlink()
        await eventually(lambda: set(n.phases.values()) == {"Running"}, 120)


@virtual_time
async def test_a_spec_that_is_not_understood_is_said_and_nothing_is_done(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything(WEB))
        await eventually(lambda: n.phases == {"web.0": "Running"})
        newer = Spec("web.0", b'{"workload": {"name": "web", "orbit": 1}}', {})
        before = n.runtime.journal.copy()
        assert await n.ask(everything(newer, Spec("x.1", b"?", {}))) == ""
        for key in ("web.0", "x.1"):
            status = n.statuses[key]
            assert (str(status.phase), status.reason) == ("Error", "UnknownSpec")
            assert "upgrade" in status.message
        await asyncio.sleep(60)
        assert n.runtime.journal == before
        n.runtime.kill("web.0.main")
        await eventually(lambda: n.running == {"web.0.main"})
        assert n.statuses["web.0"].reason == "UnknownSpec", "what it was is kept running, no more"
        await n.ask(everything(spec(instance("web", generation=3, env="z"))))
        await eventually(lambda: n.phases == {"web.0": "Running"})


@virtual_time
async def test_an_agent_can_end_while_a_runner_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: PodRunner) -> None:
        raise ZeroDivisionError("a defect")

    api = spec(instance(workload("api", depends_on=needs("web"))))
    async with node(tmp_path) as n:
        await n.ask(everything(WEB, api))
        await eventually(lambda: "Running" in n.phases.values())
        monkeypatch.setattr(PodRunner, "wake", fails)
        task = n.workloads._supervisor._slots["api.0"]._task
        assert task is not None
        n.workloads._supervisor.wake({"web"})
        task.cancel()  # as the agent's end does
        await asyncio.sleep(0.1)
        assert task.cancelled()


# ---- dependencies ----


@virtual_time
async def test_dependencies_hold_with_the_master_and_without(tmp_path: Path) -> None:
    web = spec(instance(workload("web", depends_on=needs("far", "db"))))
    async with node(tmp_path) as n:
        n.workloads.connected()
        db = DependencyState("db", running=True)
        await n.ask(everything(web, DB), [db])
        await eventually(lambda: n.running == {"db.0.main"})
        await asyncio.sleep(5)
        assert n.statuses["web.0"].message == "waits for far to run"
        far = DependencyState("far", running=True)
        await n.ask(Change(digest=digest(web, DB)), [far])
        await eventually(lambda: "web.0.main" in n.running, 1)
    async with node(tmp_path) as n:  # a cold boot, and no master
        n.runtime.delays["start"] = 3
        await asyncio.sleep(2)
        assert n.phases == {"db.0": "Starting", "web.0": "Waiting"}
        assert "on this node" in n.statuses["web.0"].message, "what is here is waited for"
        await eventually(lambda: n.running == {"web.0.main", "db.0.main"})


@virtual_time
async def test_what_never_held_is_not_started_by_a_cold_boot(tmp_path: Path) -> None:
    web = spec(instance(workload("web", depends_on=needs("far"))))
    async with node(tmp_path) as n:
        n.workloads.connected()
        await n.ask(everything(web), [DependencyState("far")])
        await asyncio.sleep(5)
    async with node(tmp_path) as n:
        await asyncio.sleep(60)
        assert n.running == set()
        assert "or for the master to say so" in n.statuses["web.0"].message
        n.workloads.connected()
        await n.ask(Change(digest=digest(web)), [DependencyState("far", running=True)])
        await eventually(lambda: n.running == {"web.0.main"}, 1)


@virtual_time
async def test_when_the_master_goes_what_is_here_counts(tmp_path: Path) -> None:
    web = spec(instance(workload("web", depends_on=needs("db"))))
    async with node(tmp_path) as n:
        n.workloads.connected()
        await n.ask(everything(web, DB), [DependencyState("db")])
        await asyncio.sleep(5)
        assert n.running == {"db.0.main"}
        n.workloads.alone(asyncio.get_running_loop().time())
        await eventually(lambda: n.running == {"web.0.main", "db.0.main"}, 1)


@virtual_time
async def test_what_a_session_told_does_not_count_after_it(tmp_path: Path) -> None:
    web = spec(instance(workload("web", depends_on=needs("far"))))
    async with node(tmp_path) as n:
        n.workloads.connected()
        asked = asyncio.create_task(n.ask(everything(web), [DependencyState("far", running=True)]))
        await asyncio.sleep(0)
        n.workloads.alone(asyncio.get_running_loop().time())
        assert await asked == ""
        await asyncio.sleep(5)
        assert (n.phases, n.running) == ({"web.0": "Waiting"}, set())


# ---- isolation ----


def _isolated(after: float, name: str = "lone") -> Spec:
    return spec(instance(workload(name, on_isolation=Isolation(OnIsolation.STOP, after))))


@virtual_time
async def test_a_workload_stops_in_time_when_its_node_is_cut_off(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        n.workloads.connected()
        await n.ask(everything(WEB, _isolated(30), _isolated(60, "later")))
        await eventually(lambda: len(n.running) == 3)
        n.workloads.alone(heard_at=asyncio.get_running_loop().time() - 5)
        await asyncio.sleep(24)
        assert len(n.running) == 3
        await asyncio.sleep(2)
        assert n.running == {"web.0.main", "later.0.main"}
        assert "without the master for 30 s" in n.statuses["lone.0"].message
        await asyncio.sleep(30)
        assert n.running == {"web.0.main"}
        n.workloads.connected()
        await eventually(lambda: len(n.running) == 3, 5)
        await asyncio.sleep(100)
        assert len(n.running) == 3


@virtual_time
async def test_a_node_that_boots_alone_counts_from_then(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything(_isolated(30), _isolated(0, "never")))
    async with node(tmp_path) as n:
        await eventually(lambda: n.running == {"lone.0.main"}, 5)
        await asyncio.sleep(20)
        assert n.running == {"lone.0.main"}
        await eventually(lambda: n.running == set(), 10)
        assert ("create", "never.0.main") not in n.runtime.journal


@virtual_time
async def test_a_node_that_was_held_up_stops_at_once(tmp_path: Path) -> None:
    """As after SIGSTOP: the time passed all the same."""
    async with node(tmp_path) as n:
        await n.ask(everything(_isolated(30)))
        await eventually(lambda: n.running == {"lone.0.main"})
        freeze(100)
        began = now()
        await eventually(lambda: n.running == set(), 1)
        assert now() - began < 1


# ---- leaving ----


@virtual_time
async def test_a_node_that_leaves_ends_and_forgets_everything(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        n.runtime.run("foreign")
        n.runtime.scripts["db.0.main"] = Script(ignores_stop=True)
        await n.ask(everything(WEB, DB))
        await eventually(lambda: set(n.phases.values()) == {"Running"})
        assert n.events()
        began = now()
        await n.workloads.leave()
        assert now() - began < 12
        assert n.containers == {"foreign"}
        await asyncio.sleep(1)
        assert not (tmp_path / "events.jsonl").exists()
    async with node(tmp_path) as n:
        await asyncio.sleep(5)
        assert (n.workloads.held(), n.events(), n.containers) == ({}, [], set())


@virtual_time
async def test_a_node_that_leaves_waits_within_bounds(tmp_path: Path) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything(WEB))
        await eventually(lambda: n.running == {"web.0.main"})
        n.runtime.go_away()
        began = now()
        await n.workloads.leave()
        assert 29 < now() - began < 31


@virtual_time
async def test_a_node_that_leaves_with_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path) as n:
        await n.ask(everything(WEB))
        await eventually(lambda: n.running == {"web.0.main"})

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Desired, "_write", full)
        assert "No space left" in await n.ask(everything(WEB, DB))
        assert n.phases.keys() == {"web.0"}, "nothing changed"
        await n.workloads.leave()
        assert n.containers == set()


def test_scratch_is_named_alike() -> None:
    """Leftovers are removed by name, without the spec."""
    mounts = (Mount("/x", MountKind.SCRATCH, "data"),)
    of = instance(Workload("old", (Container("main", "i", mounts=mounts),)), 7)
    assert scratch(of) == "old.7."
