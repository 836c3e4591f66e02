"""The latest changes, kept in memory for those who watch.

One log serves any number of watchers, each of which keeps nothing but the revision it has read up
to: a slow watcher costs no memory and delays nobody. The log is bounded; who falls behind its
start gets `Compacted`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from piccolo.core.errors import Compacted, PiccoloError
from piccolo.store.base import Change


class ChangeLog:
    """Holds all changes after `start`, up to and including `revision`."""

    def __init__(self, revision: int, *, max_changes: int, max_bytes: int) -> None:
        self.revision = revision
        self.start = revision
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._changes: deque[Change] = deque()
        self._bytes = 0
        self._news = asyncio.Event()  # replaced at every change
        self._closed: PiccoloError | None = None

    def append(self, changes: Sequence[Change], revision: int) -> None:
        """Take in all changes from the present revision to `revision`, and wake the watchers."""
        self._changes.extend(changes)
        self._bytes += sum(_size(change) for change in changes)
        self.revision = revision
        while len(self._changes) > self._max_changes or self._bytes > self._max_bytes:
            self.trim(self._changes[0].revision)
        self._wake()

    def reset(self, revision: int) -> None:
        """Forget everything, because what led to `revision` is not known here."""
        self._changes.clear()
        self._bytes = 0
        self.start = self.revision = revision
        self._wake()

    def trim(self, revision: int) -> None:
        """Forget the changes up to and including `revision`."""
        while self._changes and self._changes[0].revision <= revision:
            self._bytes -= _size(self._changes.popleft())
        self.start = max(self.start, revision)

    def since(self, revision: int) -> list[Change]:
        """All changes after `revision`, oldest first.

        Raises `Compacted` when they are not all here, or what `close` was given.
        """
        if self._closed is not None:
            raise self._closed.with_traceback(None)
        if revision < self.start:
            raise Compacted(
                f"changes after revision {revision} are no longer kept, only those after "
                f"{self.start}: list again, then watch"
            )
        if revision > self.revision:
            raise Compacted(
                f"revision {revision} is not of this store, which is at {self.revision}: "
                f"list again, then watch"
            )
        found = []
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            found.append(change)
        found.reverse()
        return found

    async def news(self, revision: int) -> None:
        """Wait until there are changes after `revision`, or the log is closed."""
        while self.revision <= revision and self._closed is None:
            await self._news.wait()

    def close(self, error: PiccoloError) -> None:
        """End all watches with `error`."""
        if self._closed is None:
            self._closed = error
            self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _size(change: Change) -> int:
    return len(change.key) + len(change.value or b"") + 200  # about what Python needs around it
