"""When a command has what it waited for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from piccolo.cli.workloads.goals import Goal, Progress, Stage
from piccolo.rpc import wire
from piccolo.rpc.wire import ChangeType
from tests.cli.workloads.served import added, deleted, failed, modified, starting, workload


def after(*responses: wire.WatchResponse, goals: Iterable[Goal] = (Goal("web", 2),)) -> Progress:
    progress = Progress.of(goals)
    for response in responses:
        progress.take(response)
    return progress


def stages(progress: Progress) -> list[Stage]:
    return [step.stage for step in progress.steps]


@pytest.mark.parametrize(
    ("seen", "stage"),
    [
        (workload(generation=2), Stage.DONE),
        (workload(generation=3), Stage.DONE),  # somebody asked for something newer
        (workload(generation=1), Stage.OPEN),
        (starting(generation=2), Stage.OPEN),
        (failed(generation=2), Stage.FAILED),
        (failed(generation=1), Stage.OPEN),
        (workload("other", generation=2), Stage.FAILED),  # ours is not there any more
    ],
)
def test_settled_in_the_generation_asked_for(seen: wire.Workload, stage: Stage) -> None:
    progress = after(*added(seen))
    assert stages(progress) == [stage]
    assert progress.over == (stage is not Stage.OPEN)


def test_nothing_is_known_before_the_list_is_complete() -> None:
    progress = after(*added(workload(generation=2))[:-1])
    assert stages(progress) == [Stage.DONE]
    assert not progress.over
    assert stages(after()) == [Stage.OPEN]


def test_what_failed_may_recover_while_others_are_waited_for() -> None:
    goals = [Goal("db"), Goal("web")]
    progress = after(*added(failed("db"), starting("web")), goals=goals)
    assert stages(progress) == [Stage.FAILED, Stage.OPEN]
    progress.take(modified(workload("db")))
    progress.take(modified(workload("web")))
    assert stages(progress) == [Stage.DONE, Stage.DONE]
    assert progress.over


def test_gone() -> None:
    goals = [Goal("db", gone=True), Goal("web", gone=True)]
    progress = after(*added(workload("web", deleting=True, settled=False)), goals=goals)
    assert stages(progress) == [Stage.DONE, Stage.OPEN]  # db was gone before we looked
    progress.take(deleted("web"))
    assert progress.over
    progress.take(modified(starting("web")))  # somebody declared it again
    assert stages(progress) == [Stage.DONE, Stage.DONE]


def test_a_workload_that_is_there_and_well_is_not_gone() -> None:
    progress = after(*added(workload()), goals=[Goal("web", gone=True)])
    assert stages(progress) == [Stage.OPEN]


def test_deleted_by_somebody_else() -> None:
    progress = after(*added(starting(generation=2)), deleted("web"))
    assert stages(progress) == [Stage.FAILED]
    assert progress.over


@pytest.mark.parametrize("by", ["resync", "reconnect"])
def test_a_new_list_tells_what_is_gone_meanwhile(by: str) -> None:
    goals = [Goal("db", gone=True), Goal("web")]
    progress = after(*added(workload("db", deleting=True), starting("web")), goals=goals)
    if by == "resync":
        progress.take(wire.WatchResponse(type=ChangeType.RESYNC))
    else:
        progress.begin()
    assert stages(progress) == [Stage.OPEN, Stage.OPEN]
    for response in added(workload("web")):
        progress.take(response)
    assert stages(progress) == [Stage.DONE, Stage.DONE]


def test_of_several_goals_for_one_workload_the_last_counts() -> None:
    """A document that declares it, and one that launches it."""
    assert Progress.of([Goal("web", 1), Goal("web", 2)]).goals == {"web": Goal("web", 2)}
