"""Time and chance of a simulation: virtual, from one seed, and the same in every run of it.

Each node has a clock of its own that may be wrong and may be stepped; what goes by durations is
monotonic, as on a real machine.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from typing import Any, NoReturn, TypeVar
from unittest.mock import patch

from piccolo.agent.workloads import journal, runner, slot
from tests.master.virtual_time import VirtualLoop
from tests.runtime import fake, fake_node

T = TypeVar("T")

EPOCH = datetime(2026, 5, 1, tzinfo=UTC)
START = 1000.0  # what the loop's clock shows at the start
_SEED = "PYTHONHASHSEED"

skew: ContextVar[Callable[[], float]] = ContextVar("skew", default=lambda: 0.0)  # s, of whose clock


def now() -> float:
    """Seconds since the simulation began."""
    return asyncio.get_running_loop().time() - START


def utc() -> datetime:
    return EPOCH + timedelta(seconds=now())


class _Datetime(datetime):
    """What the agents' modules know as `datetime`."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return utc() + timedelta(seconds=skew.get()())


def simulate(make: Callable[[], Coroutine[Any, Any, T]], seed: int) -> T:
    """Run it to its end. What is left to chance outside `make` follows from `seed` too."""
    before = random.getstate()
    random.seed(seed)
    with asyncio.Runner(loop_factory=VirtualLoop) as loop, ExitStack() as patches:
        clock = loop.get_loop().time
        for target, name, value in (
            (time, "monotonic", clock),
            (time, "time", lambda: EPOCH.timestamp() + clock() - START),
            (fake, "_numbers", count(1 << 128)),  # ids are in sets, which are walked
            (fake_node, "_numbers", count(1)),
            (os, "fsync", lambda descriptor: None),  # nobody cuts this machine's power
            *((module, "datetime", _Datetime) for module in (journal, runner, slot)),
        ):
            patches.enter_context(patch.object(target, name, value))
        try:
            return loop.run(make())
        finally:
            random.setstate(before)


def repeatable() -> None:
    """Start this program again unless its sets are in the same order in every run."""
    if os.environ.get(_SEED) != "0":
        _again()


def _again() -> NoReturn:
    os.execve(sys.executable, sys.orig_argv, {**os.environ, _SEED: "0"})
