"""What a target is: inputs, and a check that no input may break.

A check feeds one input to one decoder and says what must hold of the outcome. It may raise our own
errors, which are an answer; anything else is a finding, and so is an input that takes too long.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn, TypeVar

from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis.strategies import SearchStrategy

from piccolo.core.errors import PiccoloError

T = TypeVar("T")

MODULES = ("wire", "text", "documents", "podman", "machine", "disk", "stored", "archives")
MOST_SECONDS = 1.0  # of processor time, for one input
_LONGEST = 1000  # characters of an input that is shown
QUICK = 25  # examples in the bounded run, where a target says nothing else


class TooLong(BaseException):
    """One input takes too long, perhaps for ever. No decoder catches this one; nor is a smaller
    input looked for, as each one tried might take as long."""


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    about: str
    inputs: SearchStrategy[Any]
    check: Callable[[Any], None]
    quick: int
    found: Sequence[Any]  # what once was a finding: tried each time

    def examine(self, value: Any) -> None:
        """One input. Raises `TooLong`, or what the check raises."""
        with _bounded(value):
            try:
                self.check(value)
            except PiccoloError as error:
                str(error).encode()  # it can be said

    def run(self, examples: int, seed_: int | None = None) -> None:
        """Raises what the first finding raised, with its smallest example in the notes.

        Without a seed the examples are always the same ones.
        """
        examine = given(self.inputs)(self.examine)
        for value in self.found:
            examine = example(value)(examine)
        run = settings(
            max_examples=examples,
            derandomize=seed_ is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(examine)
        state = random.getstate()
        try:
            (run if seed_ is None else seed(seed_)(run))()
        finally:
            random.setstate(state)


@contextmanager
def _bounded(value: object) -> Iterator[None]:
    """By a signal: what never ends cannot be asked afterwards how long it took."""

    def stop(*_: object) -> NoReturn:
        raise TooLong(f"one input took over {MOST_SECONDS:g} s: {value!r:.{_LONGEST}}")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS, MOST_SECONDS)  # again, should it be lost
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


_TARGETS: dict[str, Target] = {}


def target(
    inputs: SearchStrategy[T], quick: int = QUICK, found: Sequence[T] = ()
) -> Callable[[Callable[[T], None]], Callable[[T], None]]:
    """Makes a target of a check. Its name is the function's, with dashes."""

    def register(check: Callable[[T], None]) -> Callable[[T], None]:
        name = check.__name__.replace("_", "-")
        assert name not in _TARGETS, f"there are two targets {name}"
        about = (check.__doc__ or "").partition("\n")[0]
        _TARGETS[name] = Target(name, about, inputs, check, quick, found)
        return check

    return register


def targets() -> dict[str, Target]:
    """All there are, by name."""
    for module in MODULES:
        import_module(f"tests.fuzz.{module}")
    return dict(_TARGETS)
