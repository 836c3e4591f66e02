"""Stories that take long, mostly by waiting, told while other tests run.

A story is a function that makes a lab of its own, lets something happen in it, and returns what
the tests want to know. `@story` makes a fixture of it. All stories that are going to be asked for
begin with the first end-to-end test, each in a thread; who asks waits for the end, and fails with
the story if it failed.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

Tell = Callable[[], Any]

APART = 2.0  # s between two beginnings: to start a lab takes processors, later it mostly waits

_known: dict[str, Tell] = {}


class Stories:
    def __init__(self, wanted: Iterable[str]) -> None:
        self._told: dict[str, Future[Any]] = {name: Future() for name in sorted(wanted)}
        for number, (name, told) in enumerate(self._told.items()):
            # A daemon: when the tests end early nobody waits for it. Its lab is removed all the
            # same, see `tests.lab.reaper`.
            args = (name, told, number * APART)
            threading.Thread(target=_tell, args=args, name=name, daemon=True).start()

    def of(self, name: str) -> Any:
        return self._told[name].result()


def _tell(name: str, told: Future[Any], after: float) -> None:
    time.sleep(after)
    try:
        told.set_result(_known[name]())
    except BaseException as error:
        told.set_exception(error)


def story(tell: Tell) -> Any:
    """A fixture of the function's name, which is unique among all stories."""
    name = tell.__name__
    assert name not in _known
    _known[name] = tell

    @pytest.fixture(scope="session", name=name)
    def told(stories: Stories) -> Any:
        return stories.of(name)

    return told


@functools.cache
def tells_stories(file: Path) -> bool:
    return "\n@story\n" in file.read_text()


def wanted_by(items: Iterable[pytest.Item]) -> set[str]:
    """The stories that these tests ask for; a test that is skipped asks for none."""
    return {
        name
        for item in items
        if isinstance(item, pytest.Function) and item.get_closest_marker("skip") is None
        for name in item.fixturenames
        if name in _known
    }
