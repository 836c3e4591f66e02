"""A sample of the schedules of the pure core, and proof that a defect of it is found."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.pure.schedule import run

COUNT = 8  # schedules of the sample
SOON = 40  # schedules within which a defect is to be found: a second


@pytest.mark.parametrize("seed", range(1, COUNT + 1))
def test_a_sample(seed: int) -> None:
    """Each comes to rest, and breaks no rule on the way."""
    outcome = run(seed)
    assert not outcome.broken, "\n".join((*outcome.story, *outcome.broken))


def test_fifty_nodes() -> None:
    outcome = run(1, nodes=50)
    assert not outcome.broken, "\n".join((*outcome.story, *outcome.broken))


def test_the_same_seed_is_the_same_schedule() -> None:
    first, again = list[str](), list[str]()
    run(2, tell=first.append)
    run(2, tell=again.append)
    assert first == again


@pytest.mark.slow
def test_it_is_the_same_in_whatever_order_sets_are() -> None:
    show = (
        "from tests.simulation.pure.schedule import run\n"
        "[run(seed, tell=print) for seed in range(1, 9)]"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", show],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert "all faults are over" in told.pop()


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("core.planning.planner.in_order", lambda *_: (), "though it was deleted"),
        ("agent.workloads.dependencies.waits_for", lambda *_: "", "was never"),
        ("core.pods.machine._update", lambda *_: None, "tells of generation"),
        ("core.nodes.liveness.Link.fault", lambda *_: None, "has been cut off"),
    ],
    ids=[
        "a planner that forgets what was deleted",
        "an agent that waits for no dependency",
        "an agent that ignores a new generation",
        "a master that takes everybody for alive",
    ],
)
def test_defects_are_found(
    name: str, value: object, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"piccolo.{name}", value)
    for seed in range(1, SOON + 1):
        if broken := run(seed).broken:
            assert found in broken[0]
            return
    pytest.fail(f"it was not found within {SOON} schedules")
