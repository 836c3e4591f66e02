"""One instance on its node, in virtual time."""

from __future__ import annotations

import pytest

from piccolo.core.pods.status import NEXT
from piccolo.core.pods.steps import (
    Answered,
    Away,
    Blocked,
    Create,
    CreatePod,
    EnsureImage,
    Held,
    Look,
    Observed,
    Refused,
    Remove,
    Retired,
    Start,
    Stop,
    Updated,
)
from piccolo.core.workloads.instances import LABEL_HASH, Phase
from piccolo.core.workloads.workload import RestartPolicy
from tests.core.pods.pod_simulation import Simulation, instance

ALWAYS, ON_FAILURE, NEVER = RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE, RestartPolicy.NEVER


def running(asked=None) -> Simulation:  # type: ignore[no-untyped-def]
    simulation = Simulation(asked or instance())
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    return simulation


# ---- starting ----


def test_a_container_is_made_and_started_with_as_few_steps_as_possible() -> None:
    simulation = Simulation(instance())
    simulation.settle(listing=False)
    assert sorted(simulation.runtime.log) == ["Create", "EnsureImage", "Look", "Start"]
    status = simulation.status
    assert (status.phase, status.ready, status.hash) == (Phase.RUNNING, True, "h1")
    assert simulation.reasons == ["Started"]


def test_what_has_not_begun_says_so() -> None:
    simulation = Simulation(instance())
    simulation.feed(Observed([]))  # before we looked ourselves
    status = simulation.status
    assert (status.phase, status.message) == (Phase.WAITING, NEXT)


def test_running_is_told_as_soon_as_start_returns() -> None:
    simulation = Simulation(instance())
    simulation.settle(listing=False)
    simulation.feed(Observed([]))  # older than our container
    assert simulation.shows(Phase.RUNNING)
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    assert simulation.reasons == ["Started"]


def test_several_containers_are_a_pod() -> None:
    simulation = running(instance("a", "b"))
    assert simulation.runtime.pods == {"web.0": "h1"}
    assert {box.pod for box in simulation.runtime.boxes.values()} == {"web.0"}
    assert simulation.runtime.log.count("CreatePod") == 1


def test_init_containers_come_before_one_after_the_other() -> None:
    simulation = Simulation(instance(inits=("one", "two")))
    simulation.settle()
    assert [b.labels for b in simulation.runtime.boxes.values()] == [
        simulation.runtime.named("one").labels
    ]
    assert simulation.shows(Phase.STARTING)
    simulation.runtime.end("one")
    simulation.settle()
    simulation.runtime.end("two", 1)
    simulation.after(10.0)
    assert simulation.runtime.starts["two", "h1"] == 2  # once more
    assert ("main", "h1") not in simulation.runtime.starts
    simulation.runtime.end("two")
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)


def test_init_containers_are_not_run_again_by_another_agent() -> None:
    simulation = Simulation(instance(inits=("one",)))
    simulation.settle()
    simulation.runtime.end("one")
    simulation.settle()
    for power_cut in (False, True):
        simulation.kill(power_cut=power_cut)
        simulation.settle()
        assert simulation.shows(Phase.RUNNING)
        assert simulation.runtime.starts["one", "h1"] == 1


def test_what_runs_is_adopted_without_touching_it() -> None:
    simulation = running(instance("a", "b"))
    before = list(simulation.runtime.log)
    simulation.kill()
    simulation.after(120.0)
    assert simulation.shows(Phase.RUNNING)
    assert simulation.runtime.log[len(before) :] == ["Look"]
    assert simulation.reasons == ["Started"]


def test_it_waits_for_what_it_depends_on_but_fetches_its_image() -> None:
    simulation = Simulation(instance())
    simulation.feed(Blocked("web waits for db"))
    simulation.after(3600.0)
    assert sorted(simulation.runtime.log) == ["EnsureImage", "Look"]
    status = simulation.status
    assert (status.phase, status.reason) == (Phase.WAITING, "DependencyNotReady")
    assert status.message == "web waits for db"
    simulation.feed(Blocked(""))
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    simulation.feed(Blocked("db is gone"))
    simulation.runtime.end("main", 1)
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)  # started again all the same


def test_fetching_an_image_is_told_when_it_takes_a_while() -> None:
    simulation = Simulation(instance())
    simulation.feed()
    simulation.answer([type(a) for a in simulation.pending].index(EnsureImage) ^ 1)
    assert simulation.shows(Phase.STARTING)
    simulation.now = simulation.machine.wake_at
    simulation.feed()
    assert (simulation.status.phase, simulation.status.message) == (Phase.PULLING, "image-main")
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)


# ---- ends ----

_FINAL = {
    (ALWAYS, 0): Phase.RUNNING,
    (ALWAYS, 1): Phase.RUNNING,
    (ALWAYS, 137): Phase.RUNNING,
    (ON_FAILURE, 0): Phase.COMPLETED,
    (ON_FAILURE, 1): Phase.RUNNING,
    (ON_FAILURE, 137): Phase.RUNNING,
    (NEVER, 0): Phase.COMPLETED,
    (NEVER, 1): Phase.FAILED,
    (NEVER, 137): Phase.FAILED,
}


@pytest.mark.parametrize("killed", ["", "agent", "power"])
@pytest.mark.parametrize(("policy", "code"), list(_FINAL))
def test_what_becomes_of_an_end(policy: RestartPolicy, code: int, killed: str) -> None:
    expected = _FINAL[policy, code]
    simulation = running(instance(policy=policy))
    simulation.runtime.end("main", code, oom=code == 137)
    if killed:
        simulation.kill(power_cut=killed == "power")
    simulation.settle()
    status = simulation.status
    assert (status.phase, status.exit_code) == (expected, code)
    again = 2 if expected is Phase.RUNNING else 1
    assert simulation.runtime.starts["main", "h1"] == again
    assert status.restarts == again - 1
    reason = {0: "Completed" if again == 1 else "Ended", 1: "Crashed", 137: "OOMKilled"}[code]
    assert simulation.reasons == ["Started", reason]
    if again == 1:
        simulation.kill(power_cut=True)  # a cold boot does not run it again
        simulation.after(600.0)
        assert simulation.shows(expected)
        simulation.runtime.boxes.clear()  # nor does removing the container
        simulation.kill()
        simulation.after(600.0)
        assert (simulation.status.phase, simulation.status.reason) == (expected, reason)
        assert simulation.runtime.boxes == {}
        assert simulation.runtime.starts["main", "h1"] == 1


def test_an_end_is_explained() -> None:
    simulation = running()
    simulation.runtime.end("main", 137)
    simulation.settle()
    assert "ended with exit code 137 (SIGKILL); started again now" in simulation.told[-1].message


def test_crashes_come_at_growing_pauses_and_each_is_told_once() -> None:
    simulation = running()
    starts = []
    for _ in range(12):
        simulation.runtime.end("main", 1)
        before = simulation.now
        simulation.settle()
        if simulation.machine.wake_at > before and simulation.status.phase is not Phase.RUNNING:
            simulation.until(simulation.machine.wake_at)
        starts.append(simulation.now - before)
    assert starts == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert simulation.reasons.count("Crashed") == 12
    phases = [s.phase for s in simulation.statuses if s.phase is not Phase.RUNNING]
    assert phases.count(Phase.BACK_OFF) <= 2
    assert phases.count(Phase.CRASH_LOOP) == 10
    assert simulation.status.restarts == 12
    simulation.after(301.0)  # it ran for longer than the last pause
    simulation.runtime.end("main", 1)
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)


def test_a_crash_that_no_listing_ever_shows_is_found() -> None:
    """Its listing looks the same as that of the crash before: times are told in seconds."""
    simulation = running()
    simulation.runtime.end("main", 1)
    simulation.settle(listing=False)
    simulation.feed(simulation.runtime.listing())
    simulation.settle(listing=False)
    assert simulation.shows(Phase.RUNNING)
    simulation.runtime.end("main", 1)
    simulation.after(5.0, listing=False)
    assert simulation.reasons.count("Crashed") == 2


def test_a_job_that_a_power_cut_interrupted_is_not_run_twice() -> None:
    simulation = running(instance(policy=NEVER))
    simulation.kill(power_cut=True)
    simulation.after(60.0)
    status = simulation.status
    assert (status.phase, status.reason) == (Phase.FAILED, "Interrupted")
    assert simulation.runtime.starts["main", "h1"] == 1


def test_a_job_whose_container_is_gone_is_not_run_twice() -> None:
    for alive in (True, False):
        simulation = running(instance(policy=NEVER))
        simulation.runtime.boxes.clear()
        if not alive:
            simulation.kill()
        simulation.after(60.0)
        assert simulation.shows(Phase.FAILED)
        assert simulation.status.reason == ("Removed" if alive else "Interrupted")
        assert simulation.runtime.boxes == {}


def test_a_service_runs_on_after_a_power_cut() -> None:
    for policy in (ALWAYS, ON_FAILURE):
        simulation = running(instance("a", "b", policy=policy))
        simulation.kill(power_cut=True)
        simulation.settle()
        assert simulation.shows(Phase.RUNNING)
        assert simulation.status.restarts == 0
        assert simulation.runtime.starts["a", "h1"] == 2


# ---- people and programs on the node ----


def test_a_container_removed_by_hand_is_made_again_at_once() -> None:
    simulation = running(instance("a", "b"))
    simulation.runtime.boxes.pop(simulation.runtime.named("a").id)
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    assert simulation.runtime.starts == {("a", "h1"): 2, ("b", "h1"): 1}
    assert simulation.reasons == ["Started", "Recreated"]


def test_a_pod_removed_by_hand_is_made_again() -> None:
    simulation = running(instance("a", "b"))
    simulation.runtime.boxes.clear()
    simulation.runtime.pods.clear()
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    assert simulation.runtime.pods == {"web.0": "h1"}


def test_a_paused_container_is_left_so() -> None:
    simulation = running()
    simulation.runtime.named("main").state = "paused"
    simulation.after(300.0)
    status = simulation.status
    assert (status.phase, status.reason, status.ready) == (Phase.RUNNING, "Paused", False)
    simulation.runtime.named("main").state = "running"
    simulation.settle()
    assert simulation.status.ready
    assert simulation.reasons == ["Started", "Paused"]


def test_a_copy_made_by_hand_with_our_labels_is_removed() -> None:
    simulation = running()
    box = simulation.runtime.named("main")
    simulation.runtime.boxes["copy"] = type(box)("copy", "copy", box.labels, "", "running")
    simulation.settle()
    assert list(simulation.runtime.boxes) == [box.id]


# ---- changes ----


def test_another_hash_replaces_the_containers_and_their_scratch_volumes() -> None:
    simulation = running(instance("a", "b"))
    simulation.asked = instance("a", "c", hash="h2", generation=2)
    simulation.feed(Updated(simulation.asked))
    assert simulation.status.hash == "h1"
    simulation.settle()
    assert {b.labels["io.piccolo.hash"] for b in simulation.runtime.boxes.values()} == {"h2"}
    assert simulation.runtime.pods == {"web.0": "h2"}
    log = simulation.runtime.log
    assert max(i for i, what in enumerate(log) if what == "EnsureImage") < log.index("Stop")
    assert log.count("Stop") == 2
    assert log.index("Clean") < len(log) - 1 - log[::-1].index("CreatePod")
    status = simulation.status
    assert (status.phase, status.generation, status.hash) == (Phase.RUNNING, 2, "h2")


def test_the_old_version_runs_on_while_the_new_one_cannot_start() -> None:
    simulation = running()
    simulation.refuse = lambda action: (
        Refused(action, "ImageMissing", "no such image")
        if isinstance(action, EnsureImage)
        else None
    )
    simulation.feed(Updated(instance(hash="h2", generation=2)))
    simulation.after(600.0)
    assert simulation.shows(Phase.ERROR)
    assert simulation.runtime.named("main").state == "running"
    assert simulation.reasons == ["Started", "ImageMissing"]
    simulation.feed(Updated(instance(hash="h1", generation=3)))  # taken back
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    assert simulation.runtime.starts["main", "h1"] == 1


@pytest.mark.parametrize("begun", [False, True])
def test_two_versions_never_run_at_once_though_one_was_made_late(begun: bool) -> None:
    """It was under way when the other one was asked for, and is asked for again once it is there.
    `begun`: the other one runs by then; else it is about to."""
    simulation = Simulation(instance())
    simulation.feed()
    while not isinstance(simulation.pending[0], Create):
        simulation.answer()
    late = simulation.pending.pop()
    simulation.feed(Updated(instance("main", "side", hash="h2", generation=2)))
    while not isinstance(simulation.pending[-1], Start):
        simulation.answer()
    assert simulation.pending[-1].container.name == "side"
    if begun:
        simulation.answer(-1)
    simulation.feed(Updated(instance(generation=3)), simulation.runtime.do(late))
    while simulation.pending:  # what was asked for last is done first
        simulation.answer(-1)
        boxes = simulation.runtime.boxes.values()
        assert len({b.labels[LABEL_HASH] for b in boxes if b.state == "running"}) <= 1
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    assert simulation.runtime.hashes == {"h1"}


@pytest.mark.parametrize("when", range(5))
def test_what_was_stopped_for_another_version_begins_anew_when_taken_back(when: int) -> None:
    """… after so many of the actions that end it, so what it depends on is waited for."""
    simulation = running(instance("a", "b"))
    simulation.feed(Updated(instance("c", hash="h2", generation=2)))
    simulation.answer([type(a) for a in simulation.pending].index(EnsureImage))
    assert [type(a) for a in simulation.pending] == [Stop, Stop]
    for _ in range(when):
        simulation.answer()
    simulation.asked = instance("a", "b", generation=3)
    simulation.feed(Blocked("web waits for db"), Updated(simulation.asked))
    simulation.after(600.0)
    assert simulation.runtime.starts == {("a", "h1"): 1, ("b", "h1"): 1}
    assert (simulation.status.phase, simulation.status.reason) == (
        Phase.WAITING,
        "DependencyNotReady",
    )
    simulation.feed(Blocked(""))
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    assert simulation.runtime.starts == {("a", "h1"): 2, ("b", "h1"): 2}


@pytest.mark.parametrize("policy", [ON_FAILURE, NEVER])
@pytest.mark.parametrize("when", range(4))
def test_a_job_stopped_for_another_version_begins_anew_in_another_container(
    when: int, policy: RestartPolicy
) -> None:
    """… taken back after so many of the actions that end it: its end was our doing."""
    simulation = running(instance(policy=policy))
    first = simulation.runtime.named("main").id
    simulation.feed(Updated(instance("c", hash="h2", generation=2)))
    simulation.answer([type(a) for a in simulation.pending].index(EnsureImage))
    assert [type(a) for a in simulation.pending] == [Stop]
    for _ in range(when):
        simulation.answer()
    simulation.asked = instance(policy=policy, generation=3)
    simulation.feed(Updated(simulation.asked))
    simulation.after(60.0)
    box = simulation.runtime.named("main")
    assert simulation.shows(Phase.RUNNING)
    assert (box.id != first, box.starts) == (True, 1)
    assert simulation.runtime.hashes == {"h1"}


def test_what_could_not_be_stopped_for_another_version_runs_on_when_taken_back() -> None:
    simulation = running()
    simulation.feed(Updated(instance("c", hash="h2", generation=2)))
    simulation.answer([type(a) for a in simulation.pending].index(EnsureImage))
    simulation.feed(Blocked("web waits for db"), Updated(instance(generation=3)))
    simulation.refuse = lambda action: (
        Refused(action, "Refused", "it does not end") if isinstance(action, Stop) else None
    )
    simulation.settle()
    simulation.runtime.end("main", 1)
    simulation.settle()
    assert simulation.shows(Phase.RUNNING)
    assert simulation.runtime.starts["main", "h1"] == 2  # not for the first time


def test_the_same_hash_is_adopted() -> None:
    simulation = running()
    before = list(simulation.runtime.log)
    simulation.feed(Updated(instance(generation=2, policy=NEVER)))
    simulation.settle()
    assert simulation.status.generation == 2
    assert simulation.runtime.log == [*before, "Save"]


def test_retired_it_leaves_nothing() -> None:
    simulation = running(instance("a", "b", inits=()))
    simulation.feed(Retired())
    assert simulation.shows(Phase.STOPPING)
    assert [type(a) for a in simulation.pending] == [Stop, Stop]  # side by side
    simulation.settle()
    runtime = simulation.runtime
    assert simulation.machine.done
    assert runtime.left == []


def test_held_it_is_stopped_and_kept() -> None:
    simulation = running()
    simulation.feed(Held("no master for 30 s"))
    assert simulation.shows(Phase.STOPPING)
    simulation.after(600.0)
    status = simulation.status
    assert (status.phase, status.reason) == (Phase.WAITING, "Isolated")
    assert simulation.runtime.named("main").state == "exited"
    simulation.runtime.named("main").state = "running"  # by hand
    simulation.settle()
    assert simulation.runtime.named("main").state == "exited"
    simulation.feed(Held(None))
    simulation.settle()
    assert (simulation.status.phase, simulation.status.restarts) == (Phase.RUNNING, 0)


def test_a_job_that_was_stopped_by_isolation_is_not_run_twice() -> None:
    simulation = running(instance(policy=NEVER))
    simulation.feed(Held("alone"))
    simulation.settle()
    simulation.feed(Held(None))
    simulation.after(60.0)
    assert simulation.shows(Phase.FAILED)
    assert simulation.status.reason == "Interrupted"
    assert simulation.runtime.starts == {("main", "h1"): 1}


# ---- trouble ----


def test_what_is_refused_is_tried_again_after_pauses_and_told_once() -> None:
    simulation = Simulation(instance())
    refused = 0

    def refuse(action):  # type: ignore[no-untyped-def]
        nonlocal refused
        if isinstance(action, Start):
            refused += 1
            return Refused(action, "PortTaken", "port 80 is in use")
        return None

    simulation.refuse = refuse
    simulation.after(600.0)
    status = simulation.status
    assert (status.phase, status.reason) == (Phase.ERROR, "PortTaken")
    assert status.message == "port 80 is in use; tried again within a minute"
    assert 12 < refused < 20
    assert simulation.reasons == ["PortTaken"]
    simulation.refuse = lambda action: None
    simulation.after(61.0)
    assert simulation.shows(Phase.RUNNING)


def test_a_runtime_that_is_away_is_no_crash() -> None:
    simulation = running()
    seen = len(simulation.statuses)
    simulation.refuse = lambda action: Away(action, "away")
    simulation.runtime.end("main", 1)
    simulation.after(300.0)
    assert simulation.statuses[seen:] == []
    simulation.refuse = lambda action: None
    simulation.runtime.named("main").state = "running"
    simulation.settle()
    simulation.after(20.0)
    assert simulation.shows(Phase.RUNNING)
    assert simulation.reasons == ["Started"]


@pytest.mark.parametrize("last", [Look, EnsureImage, CreatePod, Create, Start])
def test_what_is_new_says_that_the_runtime_is_away(last: type[Answered]) -> None:
    """`last`: what it is asked first that it does not answer any more."""
    simulation = Simulation(instance("a", "b"))
    away = False

    def refuse(action: Answered) -> Away | None:
        nonlocal away
        away = away or isinstance(action, last)
        return Away(action, "there is no socket; start Podman") if away else None

    simulation.refuse = refuse
    simulation.after(300.0)
    status = simulation.status
    assert (status.phase, status.reason) == (Phase.WAITING, "RuntimeUnavailable")
    assert status.message == "there is no socket; start Podman"
    simulation.refuse = lambda action: None
    simulation.after(15.0)
    status = simulation.status
    assert (status.phase, status.reason, status.message) == (Phase.RUNNING, "", "")
    assert simulation.reasons == ["Started"]


def test_what_cannot_be_stopped_is_removed() -> None:
    simulation = running()
    simulation.refuse = lambda action: (
        Refused(action, "Refused", "it hangs") if isinstance(action, Stop) else None
    )
    simulation.feed(Retired())
    simulation.settle()
    assert simulation.machine.done
    assert any(isinstance(action, Remove) for action in simulation.done)


def test_a_trouble_is_over_with_what_it_was_about() -> None:
    """A container that could not be stopped is gone: the next one is well."""
    simulation = running()
    simulation.refuse = lambda action: (
        Refused(action, "Refused", "it hangs") if isinstance(action, Stop) else None
    )
    simulation.feed(Held("the master is away"))
    simulation.settle()
    assert simulation.status.reason == "Isolated"
    simulation.feed(Held(None))
    simulation.settle()
    status = simulation.status
    assert (status.phase, status.ready, status.reason) == (Phase.RUNNING, True, "")


def test_nothing_is_done_while_all_is_well() -> None:
    simulation = running(instance("a", "b"))
    simulation.after(3600.0)
    before = len(simulation.runtime.log)
    simulation.after(86400.0)
    assert len(simulation.runtime.log) == before


def test_an_action_carries_what_it_was_asked_for() -> None:
    """A new version that comes while a container is made does not change what is made."""
    simulation = Simulation(instance())
    simulation.feed()
    while not any(isinstance(action, Create) for action in simulation.pending):
        simulation.answer()
    simulation.asked = instance(hash="h2")
    simulation.feed(Updated(simulation.asked))
    simulation.settle()
    assert [b.labels["io.piccolo.hash"] for b in simulation.runtime.boxes.values()] == ["h2"]
    assert simulation.runtime.starts == {("main", "h2"): 1}
