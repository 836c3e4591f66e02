"""Stories that take long, mostly by waiting, told while other tests run.

A story is a function that makes a lab of its own, lets something happen in it, and returns what
the tests want to know. `@story` makes a fixture of it. All stories that are going to be asked for
begin with the first end-to-end test, each in a thread; who asks waits for the end, and fails with
the story if it failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import pytest

Tell = Callable[[], Any]

_known: dict[str, Tell] = {}


class Stories:
    def __init__(self, wanted: Iterable[str]) -> None:
        self._told: dict[str, Future[Any]] = {name: Future() for name in wanted}
        for name, told in self._told.items():
            # A daemon: when the tests end early nobody waits for it. Its lab is removed all the
            # same, see `tests.lab.reaper`.
            threading.Thread(target=_tell, args=(name, told), name=name, daemon=True).start()

    def of(self, name: str) -> Any:
        return self._told[name].result()


def _tell(name: str, told: Future[Any]) -> None:
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


def wanted_by(items: Iterable[pytest.Item]) -> set[str]:
    """The stories that these tests ask for; a test that is skipped asks for none."""
    return {
        name
        for item in items
        if isinstance(item, pytest.Function) and item.get_closest_marker("skip") is None
        for name in item.fixturenames
        if name in _known
    }
