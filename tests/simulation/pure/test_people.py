"""What people were promised: no more than what they were told was done, and is not in doubt."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import pytest

from piccolo.core.errors import PiccoloError
from tests.simulation.pure.master import Master
from tests.simulation.pure.people import People
from tests.simulation.pure.record import Conditions, Record, Store, Values

Answer = Callable[[PiccoloError | None], None]


class Writer:
    """As much of a master as people see. It writes when it is told to, and answers or not."""

    def __init__(self) -> None:
        self.clock = self
        self.record = Record(Store())
        self._asked: list[tuple[Values, Conditions, Answer]] = []

    def utc(self) -> datetime:
        return datetime(2026, 5, 1, tzinfo=UTC)

    def commit(self, values: Values, conditions: Conditions, done: Answer) -> None:
        self._asked.append((values, conditions, done))

    def write(self, *, answer: bool) -> None:
        values, conditions, done = self._asked.pop(0)
        self.record.store.commit(values, conditions)
        if answer:
            done(None)


class Town:
    """People who ask for what they are told to, about one workload, `w0`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.people = People(random.Random(1), 1, ["n0"], lambda text: None)
        self.writer = Writer()
        self._monkeypatch = monkeypatch

    def ask(self, what: str) -> None:
        self._monkeypatch.setattr("tests.simulation.wishes.Wishes.verb", lambda _: what)
        self.people.ask(cast(Master, self.writer))


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Town:
    found = Town(monkeypatch)
    found.ask("apply")
    found.writer.write(answer=True)
    return found


def test_what_was_acknowledged_is_promised(town: Town) -> None:
    assert list(town.people.promised) == ["w0"]
    town.ask("delete")
    town.writer.write(answer=True)
    assert town.people.promised == {"w0": None}


def test_a_delete_that_waited_for_an_apply_and_was_never_answered_leaves_no_promise(
    town: Town,
) -> None:
    """When it was asked nothing was promised, because the apply was under way."""
    town.ask("apply")
    town.ask("delete")
    town.writer.write(answer=True)
    town.writer.write(answer=False)
    assert town.people.promised == {}


def test_a_restart_that_was_never_answered_changes_no_promise(town: Town) -> None:
    before = dict(town.people.promised)
    town.ask("restart")
    town.writer.write(answer=False)
    assert town.people.promised == before
