"""A master rebuilt from a backup that does not know the last changes, then from nothing but what
its nodes hold; with real containers.

More of them, with longer histories: `./dev lab --full rebuild`.
"""

from __future__ import annotations

import random

import pytest

from tests.e2e.lost_master import LostMaster
from tests.e2e.stories import story
from tests.e2e.workloads import Cluster, assert_nothing_is_left
from tests.lab.cluster import Lab

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_podman,
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

SEED = random.randrange(1 << 32)


@story
def rebuilt() -> LostMaster:
    with Lab(3) as lab:
        told = LostMaster(lab, random.Random(SEED))
        told.begin()
        told.live()
        told.restart(told.lose())
        before = told.see()
        told.forget(before)
        told.lose_everything(before)
        assert_nothing_is_left(Cluster(lab))
        return told


def test_nothing_newer_is_lost_and_nothing_is_touched(rebuilt: LostMaster) -> None:
    assert rebuilt.wrong == [], f"seed {SEED}: {rebuilt.history}"
