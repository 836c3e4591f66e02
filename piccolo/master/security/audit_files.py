"""The files of an audit trail: appended to, rotated, repaired after a crash.

Everything here blocks; `AuditTrail` calls it in a thread, the command line directly. A record is in
its file when `append` returns, and on disk after `sync`. What somebody else does to the files while
the master runs, or did while it was away, is noticed, said in `notes` and in the trail itself, and
never covered up: the chain goes on from where it truly was, so that verification finds the place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from piccolo.config.settings import AuditSettings
from piccolo.core.errors import InvalidSpec
from piccolo.core.security import audit
from piccolo.core.security.audit import GENESIS, Entry, Head, file_name
from piccolo.core.words import printable
from piccolo.master.security.audit_reading import file_numbers, lines
from piccolo.security.files import private_dir, sync_dir

REPAIRED, TAMPERED = "AuditRepaired", "AuditTampered"


class AuditFiles:
    """Not safe for use by several threads at once. `head`: where the chain is known to end."""

    def __init__(
        self, directory: Path, limits: AuditSettings, utc: Callable[[], datetime], head: Head | None
    ) -> None:
        self.directory = directory
        self.limits = limits
        self.head = head or GENESIS
        self.synced = self.head  # up to here it is on disk
        self.notes: list[tuple[str, str]] = []  # REPAIRED or TAMPERED, and what was found
        self._utc = utc
        self._fd = -1
        self._number = 0  # of the file that is written
        self._oldest = 1
        self._size = 0

    def append(self, entry: Entry) -> None:
        """Raises `OSError` or `Unavailable`; then nothing of the entry is kept."""
        self.resume()
        line, head = audit.chain(entry, self.head)
        if self._size + len(line) > self.limits.max_file_size:
            self._begin(self._number + 1)
            line, head = audit.chain(entry, self.head)
        self._write(line, head)

    def resume(self) -> None:
        """Make sure that there is a file to append to, and that it is as we left it.

        Raises `InvalidSpec` when others can look into the directory, `OSError`, `Unavailable`.
        """
        if self._fd >= 0 and self._untouched():
            return
        if self._fd >= 0:
            self.close()
            begun = max([self._number, *file_numbers(self.directory)]) + 1
            found = f"{file_name(self._number)} was changed by somebody else while the master ran"
            private_dir(self.directory)
            self._begin(begun)
            self._note(TAMPERED, found)
            return
        private_dir(self.directory)
        self._open_last()

    def _untouched(self) -> bool:
        ours = os.fstat(self._fd)
        try:
            there = os.stat(self._path(self._number))
        except FileNotFoundError:
            return False
        return os.path.samestat(ours, there) and there.st_size == self._size

    def _open_last(self) -> None:
        numbers = file_numbers(self.directory)
        known, cut = self.head, b""
        last, self._oldest = GENESIS, 1
        for number in reversed(numbers):
            last, oldest = _last_of(self._path(number))
            self._oldest = max(self._oldest, oldest)
            if last is not GENESIS:
                break
        wrong = self._behind(known, last)
        self.head = Head(max(known.number, last.number), known.hash) if wrong else last
        if numbers:
            self._open(numbers[-1])
            cut = self._cut_torn_line()
        if self._size == 0:
            self._begin(self._number or 1)
        if cut:
            self._note(REPAIRED, f"the last line was cut off, as by a crash: {_quoted(cut)}")
        if wrong:
            self._note(TAMPERED, wrong)

    def _behind(self, known: Head, last: Head) -> str:
        """How the files fall short of what they are known to have held; empty: they do not."""
        if last.number < known.number:
            return f"the trail ends with record {last.number}, but went to {known.number} before"
        found = last if last.number == known.number else self._find(known.number)
        if known is GENESIS or found is None or found.hash == known.hash:
            return ""
        return f"record {known.number} is not the one that was written"

    def _find(self, number: int) -> Head | None:
        for file in reversed(file_numbers(self.directory)):
            heads = [h for line in lines(self._path(file)) if (h := _head_of(line))]
            if heads and heads[0].number <= number:
                return next((h for h in heads if h.number == number), None)
        return None

    def _cut_torn_line(self) -> bytes:
        data = self._path(self._number).read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            os.ftruncate(self._fd, end)
            self._size = end
        return data[end:]

    def _begin(self, number: int) -> None:
        """Rotate: begin the file `number`, then drop those that are too many."""
        if self._fd >= 0:
            self.sync()
            self.close()
        self._open(number)
        sync_dir(self.directory)
        self._oldest = min(max(self._oldest, number - self.limits.files + 1), number)
        self._write(*audit.chain(audit.beginning(self._utc(), number, self._oldest), self.head))
        for old in file_numbers(self.directory):
            if old < self._oldest:
                with contextlib.suppress(OSError):
                    self._path(old).unlink()

    def _note(self, kind: str, what: str) -> None:
        self.notes.append((kind, what))
        entry = Entry(self._utc(), "master", "", kind, str(self.directory), reason=what)
        self._write(*audit.chain(entry, self.head))

    def _open(self, number: int) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        self._fd = os.open(self._path(number), flags, 0o600)
        os.fchmod(self._fd, 0o600)
        self._number = number
        self._size = os.fstat(self._fd).st_size

    def _write(self, line: bytes, head: Head) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            self.close()
            raise
        self._size += len(line)
        self.head = head

    def sync(self) -> None:
        if self._fd >= 0 and self.synced != self.head:
            os.fsync(self._fd)
        self.synced = self.head

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _path(self, number: int) -> Path:
        return self.directory / file_name(number)


def _head_of(line: bytes) -> Head | None:
    with contextlib.suppress(InvalidSpec):
        return audit.parse(line)[0].head
    return None


def _last_of(path: Path) -> tuple[Head, int]:
    """The last record of a file (GENESIS: it has none), and the oldest file kept, as it says."""
    last, oldest = GENESIS, 1
    for line in lines(path):
        with contextlib.suppress(InvalidSpec):
            record, _ = audit.parse(line)
            last = record.head
            oldest = audit.oldest_kept(record.entry) or oldest
    return last, oldest


def _quoted(data: bytes) -> str:
    return printable(data[:300].decode(errors="replace"))
