"""Stories that take long, mostly by waiting, told at the same time.

A story is a function that makes a lab of its own, lets something happen in it, and returns what a
test wants to know. It runs in a thread; a test that asks for it waits for its end, and fails with
it if it failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

Tell = Callable[[], Any]


class Stories:
    def __init__(self, told: Mapping[str, Future[Any]]) -> None:
        self._told = told

    def of(self, name: str) -> Any:
        return self._told[name].result()


def begin(request: pytest.FixtureRequest, stories: Mapping[str, Tell]) -> Iterator[Stories]:
    """Tell those of `stories` that a test of the module is going to ask for by a fixture's name."""
    wanted = {
        name
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
        if not any(mark.name == "skip" for mark in item.iter_markers())
        for name in item.fixturenames
        if name in stories
    }
    with ThreadPoolExecutor(max(1, len(wanted))) as pool:
        yield Stories({name: pool.submit(stories[name]) for name in wanted})
