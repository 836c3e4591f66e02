"""What an engine holds, as far as its only writer knows.

The engine tells of changes late and in order; the writer knows its own at once. Each key's
revision decides which of two pieces of news is the newer one. What was deleted is remembered until
no older news of it can come any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from piccolo.store.base import Condition, Entry


@dataclass(frozen=True, slots=True)
class _Fact:
    value: bytes | None
    revision: int  # the engine's
    sure: bool = True  # False: a write that may have come through is not accounted for


class Known:
    def __init__(self, entries: Iterable[Entry]) -> None:
        self._facts = {entry.key: _Fact(entry.value, entry.revision) for entry in entries}
        self._graves: deque[tuple[int, str]] = deque()

    def note(self, key: str, value: bytes | None, revision: int) -> None:
        """The engine has `value` since `revision`; None: it has not."""
        self._facts[key] = _Fact(value, revision)
        if value is None:
            self._graves.append((revision, key))

    def doubt(self, key: str) -> None:
        """A write of it may have come through, or may still do so."""
        self._facts[key] = replace(self._facts.get(key, _Fact(None, 0)), sure=False)

    def is_news(self, key: str, revision: int) -> bool:
        fact = self._facts.get(key)
        return fact is None or revision > fact.revision

    def has(self, key: str, value: bytes | None) -> bool:
        """Whether the engine surely has just this."""
        fact = self._facts.get(key, _Fact(None, 0))
        return fact.sure and fact.value == value

    def value(self, key: str) -> bytes | None:
        """What the engine has; None: nothing. A write that is not accounted for may change it."""
        fact = self._facts.get(key)
        return fact.value if fact else None

    def condition(self, key: str) -> Condition:
        """That nobody else has changed `key`."""
        fact = self._facts.get(key)
        return Condition(key, fact.revision if fact and fact.value is not None else 0)

    def held(self) -> tuple[str, ...]:
        """The keys that the engine has."""
        return tuple(key for key, fact in self._facts.items() if fact.value is not None)

    def told(self, revision: int) -> None:
        """All news up to `revision` has come."""
        while self._graves and self._graves[0][0] <= revision:
            _, key = self._graves.popleft()
            fact = self._facts.get(key)
            if fact and fact.value is None and fact.sure and fact.revision <= revision:
                del self._facts[key]
