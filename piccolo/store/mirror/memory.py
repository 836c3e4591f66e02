"""What the mirror shows: all entries, and the latest changes for those who watch.

Nothing here waits but watches, and nothing can fail: what is shown was accepted before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace

from piccolo.core.errors import Unavailable
from piccolo.store.base import Change, Entry, Snapshot
from piccolo.store.changelog import ChangeLog
from piccolo.store.rules import key_range

LOG_CHANGES = 10_000
LOG_BYTES = 16_000_000


class Memory:
    def __init__(self, entries: Iterable[Entry], revision: int) -> None:
        """All of `entries` are as of `revision`."""
        self._entries = {e.key: Entry(e.key, e.value, revision) for e in entries}
        self._log = ChangeLog(revision, max_changes=LOG_CHANGES, max_bytes=LOG_BYTES)

    @property
    def revision(self) -> int:
        return self._log.revision

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def revision_of(self, key: str) -> int:
        """When `key` was last written; 0: it is not there."""
        entry = self._entries.get(key)
        return entry.revision if entry else 0

    def list(self, prefix: str) -> Snapshot:
        key_range(prefix)
        keys = sorted(key for key in self._entries if key.startswith(prefix))
        return Snapshot(tuple(self._entries[key] for key in keys), self.revision)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        while True:
            changes, after = self._log.since(after), self._log.revision
            for change in changes:
                if change.key.startswith(prefix):
                    yield change
            await self._log.news(after)

    def show(self, changes: Iterable[Change], *, always: bool = False) -> int:
        """Make changes visible as one transaction; `always`: even those that change no bytes.

        Their own revisions do not count. Returns the revision after it.
        """
        revision = self.revision + 1
        shown = []
        for change in changes:
            entry = self._entries.get(change.key)
            if change.value is None:
                if self._entries.pop(change.key, None) is None:
                    continue
            elif entry is not None and entry.value == change.value and not always:
                continue
            else:
                self._entries[change.key] = Entry(change.key, change.value, revision)
            shown.append(replace(change, revision=revision))
        if shown:
            self._log.append(shown, revision)
        return self.revision

    def forget(self, revision: int) -> None:
        """The history up to and including `revision`; entries themselves stay."""
        self._log.trim(revision)

    def close(self) -> None:
        """End all watches."""
        self._log.close(Unavailable("the store is closed"))
