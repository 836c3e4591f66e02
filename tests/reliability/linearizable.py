"""Whether a recorded history of reads and compare-and-sets could have happened one at a time.

A history is linearizable when each operation can be given an instant between its call and its
answer at which it takes effect at once, such that all of them together are a run of one register.
This is the search of Wing and Gong in the form of Lowe ("just in time"): through the history in the
order of time, keeping every state that the register may be in by now, each once. What the register
is can be any value; a history of several registers is checked for each (they are independent).

Exact: it accepts what is linearizable and nothing else. The time it takes grows with the length of
the history, and exponentially only with operations that overlap and could each come first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum

Value = str | None
NEVER = math.inf


class Outcome(Enum):
    READ = "read"
    SWAPPED = "swapped"
    REFUSED = "refused: the register was not as expected"
    UNKNOWN = "no answer: it may take effect at any time later, or never"


@dataclass(frozen=True, slots=True)
class Operation:
    """`value` is what was read, or what was to be set if the register held `expected`.

    Times are of one clock that never goes back. One without an answer returns `NEVER`.
    """

    client: str
    outcome: Outcome
    called: float
    returned: float
    value: Value
    expected: Value = None
    register: str = ""

    def allowed(self, state: Value) -> bool:
        match self.outcome:
            case Outcome.READ:
                return state == self.value
            case Outcome.REFUSED:
                return state != self.expected
        return state == self.expected

    @property
    def changes(self) -> bool:
        return self.outcome in (Outcome.SWAPPED, Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Violation:
    """The first operation whose answer nothing explains, and what the register could have held."""

    operation: Operation
    possible: frozenset[Value]

    def __str__(self) -> str:
        o = self.operation
        what = f"{o.outcome.name.lower()} {o.value!r}"
        if o.outcome is not Outcome.READ:
            what += f" where {o.expected!r} was expected"
        held = ", ".join(sorted(map(repr, self.possible)))
        return f"{o.client} {what} in a register {o.register!r} that held {held}"


def check(history: Iterable[Operation], initial: Value = None) -> Violation | None:
    """None: it is linearizable. All registers begin with `initial`."""
    registers: dict[str, list[Operation]] = {}
    for operation in history:
        registers.setdefault(operation.register, []).append(operation)
    for operations in registers.values():
        if (found := _check(operations, initial)) is not None:
            return found
    return None


@dataclass(frozen=True, slots=True)
class _Possibility:
    """What the register may hold, and which of the operations under way took effect by then."""

    state: Value
    done: frozenset[int]


def _check(operations: Sequence[Operation], initial: Value) -> Violation | None:
    pending: dict[int, Operation] = {}
    possible = {_Possibility(initial, frozenset())}
    for number, returns in _in_order_of_time(operations):
        operation = operations[number]
        if not returns:
            pending[number] = operation
            if not operation.changes:
                possible = {_looked(p, {number: operation}) for p in possible}
            continue
        after = _having_done(number, possible, pending)
        if not after:
            return Violation(operation, frozenset(p.state for p in possible))
        del pending[number]
        possible = {_Possibility(p.state, p.done - {number}) for p in after}
    return None


def _in_order_of_time(operations: Sequence[Operation]) -> list[tuple[int, bool]]:
    """Each call, and each answer (True). At one instant calls come first: they overlap."""
    events = [(o.called, False, n) for n, o in enumerate(operations)]
    events += [(o.returned, True, n) for n, o in enumerate(operations) if o.returned != NEVER]
    return [(number, returns) for _, returns, number in sorted(events)]


def _having_done(
    wanted: int, possible: Set[_Possibility], pending: Mapping[int, Operation]
) -> set[_Possibility]:
    """All that can be by now, given that `wanted` took effect: before it, any of the others may
    have, in any order."""
    found: set[_Possibility] = set()
    seen, left = set(possible), list(possible)
    while left:
        now = left.pop()
        if wanted in now.done:
            found.add(now)
            continue  # what else may happen can happen later
        for number, operation in pending.items():
            if operation.changes and number not in now.done and operation.allowed(now.state):
                then = _looked(_Possibility(operation.value, now.done | {number}), pending)
                if then not in seen:
                    seen.add(then)
                    left.append(then)
    return found


def _looked(now: _Possibility, pending: Mapping[int, Operation]) -> _Possibility:
    """Operations that change nothing take effect as soon as they can: that hinders no other."""
    done = {n for n, o in pending.items() if not o.changes and o.allowed(now.state)}
    return _Possibility(now.state, now.done | done)
