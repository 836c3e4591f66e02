"""A few scenarios of the table of faults: those that no other test has. The rest: ./dev lab --full.

One cluster, which is whole before and after each.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reliability.scenarios import ALL
from tests.reliability.scenarios.scenario import Scenario, tried
from tests.reliability.scenarios.stage import Stage

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_podman,
    pytest.mark.slow,
    pytest.mark.timeout(120),
]

SAMPLE = (
    "a node's disk turns read-only",
    "agent's workloads/desired corrupt, restart",
    "master's disk turns read-only",
    "master's store.db cut off, restart",
    "replace a node's machine: same name, empty disk",
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.fixture(autouse=True)
def _healed(stage: Stage) -> Iterator[None]:
    """Also where something was not as expected."""
    yield
    stage.lab.faults.heal()


@pytest.mark.parametrize("scenario", [s for s in ALL if s.what in SAMPLE], ids=lambda s: s.what)
def test_a_fault_has_the_outcome_that_is_expected_of_it(stage: Stage, scenario: Scenario) -> None:
    row = tried(stage, scenario)
    assert not row.broken, row.seen


def test_the_sample_is_part_of_the_table() -> None:
    names = [scenario.what for scenario in ALL]
    assert set(SAMPLE) <= set(names)
    assert len(set(names)) == len(names)
