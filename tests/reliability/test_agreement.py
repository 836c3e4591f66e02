"""A short race of `./dev lab --full agreement`."""

from __future__ import annotations

import random

import pytest

from tests.reliability.agreement import judged, raced, raced_in_store
from tests.reliability.findings import Findings
from tests.reliability.linearizable import Operation, Outcome
from tests.reliability.registers import FIRST

SEED = random.randrange(1 << 31)


@pytest.mark.slow
def test_clients_at_one_value_agree_although_the_master_is_killed() -> None:
    found, history = raced(200, 1, random.Random(SEED), "sqlite")
    row = judged(found, history, FIRST)
    assert not row.broken, f"seed {SEED}: {row.seen}"
    for what in ("reads", "changes", "refused"):
        assert found.counts[what] > 10


@pytest.mark.slow
def test_clients_of_the_store_agree_although_it_is_killed() -> None:
    found, history = raced_in_store(2, random.Random(SEED), "sqlite")
    row = judged(found, history, None)
    assert not row.broken, f"seed {SEED}: {row.seen}"
    for what in ("reads", "changes", "refused"):
        assert found.counts[what] > 10


def test_a_history_that_cannot_be_is_a_broken_row() -> None:
    changed = Operation("one", Outcome.SWAPPED, 0, 1, "new", FIRST)
    for value, broken in (("new", False), (FIRST, True)):
        read = Operation("other", Outcome.READ, 2, 3, value)
        row = judged(Findings("two clients"), [changed, read], FIRST)
        assert row.broken is broken
        assert "reads: 1; changes: 1; refused: 0; unanswered: 0" in row.seen
        assert ("not linearizable: other read" in row.seen) is broken
