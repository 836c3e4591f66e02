"""The last words of a command that waited."""

from __future__ import annotations

import pytest

from piccolo.cli.workloads.changing import summary
from piccolo.cli.workloads.goals import Goal, Progress
from piccolo.rpc import wire
from tests.cli.workloads.served import added, workload


def waited(*workloads: wire.Workload) -> Progress:
    progress = Progress.of(Goal(w.name) for w in workloads)
    for response in added(*workloads):
        progress.take(response)
    return progress


def partial(name: str = "all", **given: object) -> wire.Workload:
    """One on each node, of which one is away."""
    return workload(name, wanted=3, ready=2, state="Degraded", message="n3: not ready", **given)


def test_all_is_as_asked() -> None:
    assert summary(waited(workload()), 0.5) == "1 workload is as asked"
    two = waited(workload("a"), workload("b", wanted=0, ready=0, held=True))
    assert summary(two, 3) == "2 workloads are as asked, after 3s"


def test_what_is_not_there_everywhere_is_named() -> None:
    assert summary(waited(partial()), 0) == (
        "1 workload is as asked where it can be: all: 2/3 ready, n3: not ready"
    )
    assert summary(waited(workload(), partial("a"), partial("b")), 3) == (
        "3 workloads are as asked where they can be, after 3s:"
        " a: 2/3 ready, n3: not ready; b: 2/3 ready, n3: not ready"
    )
    many = summary(waited(*(partial(f"w{n}") for n in range(7))), 0)
    assert many.endswith("w4: 2/3 ready, n3: not ready; and 2 more")


@pytest.mark.parametrize(
    ("noted", "end"), [(False, "gone"), (True, "gone, except where a note says otherwise")]
)
def test_what_was_deleted(noted: bool, end: str) -> None:
    progress = Progress.of([Goal("web", gone=True)])
    assert summary(progress, 0, noted=noted) == f"1 workload is {end}"


def test_notes_of_an_apply_are_no_exception() -> None:
    assert summary(waited(workload()), 0, noted=True) == "1 workload is as asked"
