"""Counting what probes find, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from piccolo.core.pods.probing import ProbeKind, Probing
from piccolo.core.pods.steps import Check, Inspect, Stop, Updated
from piccolo.core.workloads.containers import ExecCheck, Probe, Probes, TcpCheck
from piccolo.core.workloads.instances import Phase
from piccolo.core.workloads.workload import Network, NetworkMode, RestartPolicy
from tests.core.pods.pod_simulation import Simulation, instance

LIVENESS, READINESS, STARTUP = ProbeKind.LIVENESS, ProbeKind.READINESS, ProbeKind.STARTUP

EXEC = Probe(exec=ExecCheck(("check",)))


def ask(
    probing: Probing,
    until: float,
    finds: Callable[[ProbeKind, float], bool | None],
    *,
    takes: float = 0.0,
) -> list[tuple[float, str]]:
    """Make all checks that are due; when, and which."""
    made = []
    now = 0.0
    while (at := max(now, probing.next_at)) <= until:
        now = at
        for kind, _ in probing.due(now):
            made.append((round(now, 3), kind.value))
            probing.asked(kind, now)
            probing.answered(kind, finds(kind, now), "no", now + takes)
        now += takes
    return made


def times(made: Iterable[tuple[float, str]]) -> list[float]:
    return [at for at, _ in made]


def test_the_delay_and_the_interval_are_kept() -> None:
    probing = Probing(Probes(liveness=replace(EXEC, delay=3.0)), 0.0, 1.0)
    assert times(ask(probing, 40.0, lambda *_: True)) == [3.0, 13.0, 23.0, 33.0]


def test_chance_spreads_the_second_and_so_all_others() -> None:
    seconds = {
        times(ask(Probing(Probes(liveness=EXEC), 0.0, n / 10), 16.0, lambda *_: True))[1]
        for n in range(10)
    }
    assert seconds == {5.0 + n / 2 for n in range(10)}


def test_found_running_they_are_not_asked_all_at_once() -> None:
    probes = Probes(readiness=replace(EXEC, delay=60.0))
    assert Probing(probes, 10.0, 0.25, found=True).next_at == 10.25


@pytest.mark.parametrize("failures", [1, 3])
def test_liveness_gives_up_after_so_many_failures_in_a_row(failures: int) -> None:
    probing = Probing(Probes(liveness=replace(EXEC, failures=failures)), 0.0, 1.0)
    calls = 0

    def finds(kind: ProbeKind, now: float) -> bool:
        nonlocal calls
        calls += 1
        return calls % failures == 0 and now < 100.0 and failures > 1

    ask(probing, 99.0, finds)
    assert (not probing.failed) == (failures > 1)
    ask(probing, 200.0, finds)
    assert probing.failed == f"its liveness probe failed {failures} times in a row: no"
    assert probing.next_at == float("inf")
    assert not probing.ready


def test_what_could_not_be_checked_is_no_failure() -> None:
    probing = Probing(Probes(liveness=replace(EXEC, failures=1), readiness=EXEC), 0.0, 1.0)
    ask(probing, 100.0, lambda *_: None)
    assert not probing.failed
    assert not probing.ready


def test_ready_follows_the_readiness_probe() -> None:
    probing = Probing(Probes(readiness=replace(EXEC, failures=2, successes=2)), 0.0, 1.0)
    assert not probing.ready
    assert probing.complaint == ""
    found = {}
    for at, well in ((10, True), (20, True), (30, False), (40, False), (50, True), (60, True)):
        ask(probing, at - 9.9, lambda *_, well=well: well)
        found[at] = probing.ready, bool(probing.complaint)
    assert found[20] == (True, False)
    assert found[30] == (True, False)
    assert found[40] == (False, True)
    assert found[60] == (True, False)
    assert not probing.failed


def test_one_that_needs_a_moment_is_ready_soon() -> None:
    """The answers in between are not failures."""
    for kind in ("readiness", "startup"):
        probes = Probes(**{kind: replace(EXEC, failures=2)})
        probing = Probing(probes, 0.0, 1.0)
        made = ask(probing, 3.0, lambda _, now: now > 1.5)
        assert times(made) == [0.0, 0.25, 0.75, 1.75]
        assert probing.ready


def test_a_startup_probe_may_fail_for_its_whole_time() -> None:
    probing = Probing(Probes(startup=replace(EXEC, failures=3)), 0.0, 1.0)
    made = ask(probing, 100.0, lambda *_: False)
    assert times(made) == [0.0, 0.25, 0.75, 1.75, 3.75, 7.75, 10.0, 20.0]
    assert probing.failed.startswith("its startup probe failed 3 times in a row")


def test_until_it_has_started_the_others_wait() -> None:
    probing = Probing(Probes(startup=EXEC, liveness=EXEC, readiness=EXEC), 0.0, 1.0)
    made = ask(probing, 1.0, lambda kind, now: kind is not STARTUP or now > 0.5)
    assert made == [
        (0.0, "startup"),
        (0.25, "startup"),
        (0.75, "startup"),
        (0.75, "liveness"),
        (0.75, "readiness"),
    ]
    assert probing.ready


def test_a_slow_check_does_not_pile_up() -> None:
    probing = Probing(Probes(liveness=replace(EXEC, interval=1.0)), 0.0, 1.0)
    assert times(ask(probing, 9.0, lambda *_: True, takes=2.5)) == [0.0, 2.5, 5.0, 7.5]


# ---- in an instance ----


def probed(**probes: Probe) -> Simulation:
    asked = instance()
    (container,) = asked.workload.containers
    container = replace(container, probes=Probes(**probes))
    simulation = Simulation(
        replace(asked, workload=replace(asked.workload, containers=(container,)))
    )
    simulation.settle()
    return simulation


def test_a_container_whose_liveness_fails_is_stopped_and_started_again() -> None:
    simulation = probed(liveness=EXEC)
    simulation.runtime.wells["liveness"] = False
    simulation.after(30.0)
    assert simulation.runtime.log.count("Stop") == 1
    simulation.runtime.wells["liveness"] = True
    simulation.after(1.0)
    status = simulation.status
    assert (status.phase, status.restarts, status.exit_code) == (Phase.RUNNING, 1, 143)
    assert simulation.reasons == ["Started", "Unhealthy"]
    assert "failed 3 times in a row" in simulation.told[1].message
    assert simulation.runtime.starts["main", "h1"] == 2


def test_one_that_is_never_well_ends_in_a_crash_loop() -> None:
    simulation = probed(liveness=replace(EXEC, interval=1.0))
    simulation.runtime.wells["liveness"] = False
    simulation.after(3600.0)
    assert Phase.CRASH_LOOP in {status.phase for status in simulation.statuses}
    assert simulation.runtime.starts["main", "h1"] < 25


def test_a_job_that_is_not_well_has_failed() -> None:
    simulation = Simulation(instance(policy=RestartPolicy.NEVER))
    workload = simulation.asked.workload
    (container,) = workload.containers
    probes = Probes(liveness=replace(EXEC, failures=1))
    workload = replace(workload, containers=(replace(container, probes=probes),))
    simulation.runtime.wells["liveness"] = False
    simulation.feed(Updated(replace(simulation.asked, workload=workload, generation=2)))
    simulation.after(60.0)
    assert (simulation.status.phase, simulation.status.reason) == (Phase.FAILED, "Unhealthy")


def test_ready_is_what_the_readiness_probe_says() -> None:
    simulation = probed(readiness=replace(EXEC, failures=1))
    assert simulation.status.ready
    simulation.runtime.wells["readiness"] = False
    simulation.after(10.0)
    status = simulation.status
    assert (status.phase, status.ready, status.reason) == (Phase.RUNNING, False, "NotReady")
    seen = len(simulation.statuses)
    simulation.after(600.0)
    assert len(simulation.statuses) == seen
    assert simulation.runtime.log.count("Stop") == 0


def test_it_is_starting_until_the_startup_probe_is_well() -> None:
    simulation = probed(startup=replace(EXEC, failures=30))
    assert simulation.shows(Phase.RUNNING)
    simulation.runtime.wells["startup"] = False
    simulation.runtime.end("main", 1)
    simulation.after(5.0)
    assert simulation.shows(Phase.STARTING)
    simulation.runtime.wells["startup"] = True
    simulation.after(10.0)
    assert simulation.status.ready


def test_the_address_is_asked_for_where_a_check_needs_it() -> None:
    checks = [
        (TcpCheck(80), NetworkMode.BRIDGE, 1, "10.0.0.1"),
        (TcpCheck(80), NetworkMode.HOST, 0, "127.0.0.1"),
        (TcpCheck(80, "192.0.2.1"), NetworkMode.BRIDGE, 0, ""),
    ]
    for tcp, mode, inspections, address in checks:
        asked = instance(network=Network(mode))
        (container,) = asked.workload.containers
        container = replace(container, probes=Probes(readiness=Probe(tcp=tcp)))
        simulation = Simulation(
            replace(asked, workload=replace(asked.workload, containers=(container,)))
        )
        simulation.settle()
        assert simulation.status.ready
        assert simulation.runtime.log.count("Inspect") == inspections
        (check,) = [action for action in simulation.done if isinstance(action, Check)]
        assert check.address == address


def test_an_answer_about_an_earlier_run_counts_for_nothing() -> None:
    simulation = probed(liveness=replace(EXEC, failures=1))
    simulation.runtime.wells["liveness"] = False
    simulation.now = simulation.machine.wake_at
    simulation.feed()
    (index,) = [n for n, action in enumerate(simulation.pending) if isinstance(action, Check)]
    late = simulation.pending.pop(index)
    simulation.runtime.end("main", 1)
    simulation.settle()
    assert simulation.runtime.starts["main", "h1"] == 2
    simulation.pending.append(late)
    simulation.answer()
    assert not any(isinstance(action, Stop) for action in simulation.pending)
    assert not any(isinstance(action, Inspect) for action in simulation.pending)


def test_other_probes_are_taken_over_without_a_restart() -> None:
    simulation = probed(readiness=EXEC)
    workload = simulation.asked.workload
    container = replace(workload.containers[0], probes=Probes(readiness=replace(EXEC, interval=1)))
    workload = replace(workload, containers=(container,))
    simulation.feed(Updated(replace(simulation.asked, workload=workload, generation=2)))
    simulation.after(10.0)
    assert simulation.runtime.log.count("Check") > 8
    assert simulation.runtime.starts["main", "h1"] == 1
    assert simulation.status.ready
