"""The checker accepts what a register can do, and nothing else."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reliability.linearizable import NEVER, Operation, Outcome, Value, check


def read(called: float, returned: float, value: Value) -> Operation:
    return Operation("reader", Outcome.READ, called, returned, value)


def swap(
    called: float, returned: float, expected: Value, value: Value, *, done: bool = True
) -> Operation:
    outcome = Outcome.SWAPPED if done else Outcome.REFUSED
    return Operation("writer", outcome, called, returned, value, expected)


def unanswered(called: float, expected: Value, value: Value) -> Operation:
    return Operation("writer", Outcome.UNKNOWN, called, NEVER, value, expected)


POSSIBLE = {
    "nothing happened": [],
    "one after the other": [swap(0, 1, None, "a"), read(2, 3, "a"), swap(4, 5, "a", "b")],
    "a read beside a write sees the old value": [swap(0, 9, None, "a"), read(1, 2, None)],
    "or the new one": [swap(0, 9, None, "a"), read(1, 2, "a")],
    "answers come in another order": [swap(0, 9, "a", "b"), swap(1, 2, None, "a"), read(3, 4, "b")],
    "one of two is refused": [swap(0, 3, None, "a"), swap(0, 3, None, "b", done=False)],
    "no answer, and it took effect": [unanswered(0, None, "a"), read(1, 2, "a")],
    "no answer, and it did not": [unanswered(0, None, "a"), read(1, 2, None)],
    "no answer, and it took effect late": [
        unanswered(0, None, "a"),
        read(1, 2, None),
        read(3, 4, None),
        read(5, 6, "a"),
        swap(7, 8, "a", "b"),
    ],
    "a value that comes back": [
        unanswered(0, "a", "b"),
        swap(1, 2, None, "a"),
        swap(3, 4, "a", None),
        swap(5, 6, None, "a"),
        read(7, 8, "b"),
    ],
}

IMPOSSIBLE = {
    "a stale read": [swap(0, 1, None, "a"), read(2, 3, None)],
    "a read that goes back": [swap(0, 9, None, "a"), read(1, 2, "a"), read(3, 4, None)],
    "a read from the future": [read(0, 1, "a"), swap(2, 3, None, "a")],
    "a read from nowhere": [swap(0, 1, None, "a"), read(0, 1, "b")],
    "a lost update": [swap(0, 3, None, "a"), swap(0, 3, None, "b"), read(4, 5, "b")],
    "refused without need": [swap(0, 1, None, "a", done=False)],
    "refused, and done all the same": [
        swap(0, 1, None, "a"),
        swap(2, 3, None, "b", done=False),
        read(4, 5, "b"),
    ],
    "acknowledged, and lost by a crash": [
        swap(0, 1, None, "a"),
        swap(2, 3, "a", "b"),
        unanswered(2, "a", "c"),
        read(4, 5, "a"),
    ],
    "no answer, and it took effect twice": [
        unanswered(0, None, "a"),
        read(1, 2, "a"),
        swap(3, 4, "a", None),
        read(5, 6, "a"),
    ],
    "no answer, and it took effect before it was called": [
        read(0, 1, "a"),
        unanswered(2, None, "a"),
    ],
}


@pytest.mark.parametrize("history", POSSIBLE.values(), ids=POSSIBLE.keys())
def test_possible(history: Sequence[Operation]) -> None:
    assert check(history) is None
    assert check(reversed(history)) is None, "the order in which they are recorded means nothing"


@pytest.mark.parametrize("history", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_impossible(history: Sequence[Operation]) -> None:
    assert check(history) is not None


def test_registers_are_independent() -> None:
    right = [swap(0, 1, None, "a"), read(2, 3, "a")]
    other = [replace(o, register="other") for o in right]
    assert check([*right, *other]) is None
    assert check([right[0], other[1]]) is not None


def test_it_says_what_nothing_explains() -> None:
    found = check([swap(0, 1, None, "a"), read(2, 3, None)])
    assert str(found) == "reader read None in a register '' that held 'a'"
    found = check([swap(0, 1, "x", "a")])
    assert str(found) == "writer swapped 'a' where 'x' was expected in a register '' that held None"


def test_a_long_history_takes_no_time() -> None:
    """Three thousand operations of eight clients, of which thirty were never answered."""
    chance = random.Random(1)
    assert check(recorded(chance, [f"v{n}" for n in range(3000)], clients=8, crashes=0.02)) is None


# ---- against all orders there are ----


def recorded(
    chance: random.Random, values: Sequence[str], *, clients: int, crashes: float = 0.1
) -> list[Operation]:
    """What clients of a true register see: each waits, its operation takes effect, it waits."""
    state: Value = None
    free = [0.0] * clients
    history = []
    now = 0.0
    for value in values:
        client = min(range(clients), key=free.__getitem__)
        now = max(now, free[client]) + chance.random()  # at which it takes effect
        called = chance.uniform(free[client], now)
        returned = now + chance.expovariate(1 / clients)
        free[client] = returned
        operation = read(called, returned, state)
        if chance.random() < 0.5:
            expected = state if chance.random() < 0.8 else f"not {state}"
            operation = swap(called, returned, expected, value, done=expected == state)
            if chance.random() < crashes:
                operation = unanswered(called, expected, value)
                if expected == state and chance.random() < 0.5:
                    expected = "lost with the call"
            state = value if expected == state else state
        history.append(replace(operation, client=f"client {client}"))
    return history


def plainly_possible(history: Sequence[Operation]) -> bool:
    """By trying all orders: what linearizable means, word for word."""
    open_ones = [o for o in history if o.outcome is Outcome.UNKNOWN]
    answered = [o for o in history if o.outcome is not Outcome.UNKNOWN]
    for count in range(len(open_ones) + 1):
        for chosen in itertools.combinations(open_ones, count):
            for order in itertools.permutations([*answered, *chosen]):
                if _keeps_to_time(order) and _is_a_run(order):
                    return True
    return False


def _keeps_to_time(order: Sequence[Operation]) -> bool:
    latest = 0.0
    for operation in order:
        latest = max(latest, operation.called)
        if operation.returned < latest:
            return False
    return True


def _is_a_run(order: Sequence[Operation]) -> bool:
    state: Value = None
    for operation in order:
        if not operation.allowed(state):
            return False
        if operation.changes:
            state = operation.value
    return True


@given(st.integers(0, 1 << 32), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_what_a_register_did_is_accepted(seed: int, clients: int) -> None:
    chance = random.Random(seed)
    values = [chance.choice(["a", "b", "c", f"v{n}"]) for n in range(60)]
    assert check(recorded(chance, values, clients=clients)) is None


TIMES = st.integers(0, 6)
VALUES = st.sampled_from([None, "a", "b"])


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    called, value, expected = draw(TIMES), draw(VALUES), draw(VALUES)
    returned = called + draw(TIMES)
    outcome = draw(st.sampled_from(Outcome))
    if outcome is Outcome.UNKNOWN:
        return unanswered(called, expected, value)
    return Operation("any", outcome, called, returned, value, expected)


@given(st.lists(operations(), max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_history_is_judged_as_by_trying_all_orders(history: list[Operation]) -> None:
    assert (check(history) is None) is plainly_possible(history)


@given(st.integers(0, 1 << 32))
@settings(max_examples=20, deadline=None)
def test_a_read_that_is_made_stale_is_rejected(seed: int) -> None:
    """After all is over: the last value but one, which was there and is not any more."""
    chance = random.Random(seed)
    history = recorded(chance, [f"v{n}" for n in range(40)], clients=4, crashes=0)
    done = sorted(
        (o for o in history if o.outcome is Outcome.SWAPPED), key=lambda operation: operation.called
    )
    end = max(o.returned for o in history)
    overwritten = {o.expected for o in done}
    for stale in overwritten:
        assert check([*history, read(end + 1, end + 2, stale)]) is not None
    [last] = {o.value for o in done} - overwritten or {None}
    assert check([*history, read(end + 1, end + 2, last)]) is None
