"""The master is killed while it takes two hundred workloads: acknowledged means kept, and what was
not acknowledged is there wholly or not at all. The long version: `./dev lab --full kills`.
"""

from __future__ import annotations

import random

import pytest

from tests.e2e.storm import WORKLOADS, master_killed
from tests.reliability.findings import Findings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

KILLS = 4
SEED = random.randrange(1 << 32)


@pytest.fixture(scope="module")
def herded() -> Findings:
    return master_killed(KILLS, random.Random(SEED), "sqlite")


def test_nothing_that_was_acknowledged_is_lost_and_nothing_is_there_by_half(
    herded: Findings,
) -> None:
    assert herded.lost == [], f"seed {SEED}"
    assert herded.counts["kills"] == KILLS


def test_two_hundred_workloads_are_taken_in_one_call(herded: Findings) -> None:
    assert max(herded.seconds[f"a change of {WORKLOADS} workloads"]) < 5.0
