"""Verification of an audit trail: finds every edit, deletion, insertion and change of order.

What it cannot know by itself is whether the end is missing, or all was written anew up to the end:
for that it takes a `Head` from elsewhere, which the master keeps in its memory and in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from piccolo.core.errors import InvalidSpec
from piccolo.core.security.audit import GENESIS, Head, Record, file_name, oldest_kept, parse


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found; `findings` empty: intact from the record `first` on."""

    records: int
    first: int  # number of the first record that is kept; 0: there is none
    last: Head  # the last record that could be read
    findings: Sequence[str]


class Verifier:
    """Reads a whole trail in order: `file`, then `line` for each line of it, …, then `report`.

    `head`: an end that the chain is known to have had, if one is known.
    """

    def __init__(self, head: Head | None = None, max_findings: int = 100) -> None:
        self._head = head
        self._max = max_findings
        self._findings: list[str] = []
        self._found = 0
        self._files: list[int] = []
        self._line = 0
        self._oldest = 1  # as the newest file's beginning says
        self._records = 0
        self._first = 0
        self._last: Head | None = None  # with an empty hash: that one could not be read
        self._end = GENESIS  # the last one that could

    def file(self, number: int) -> None:
        """The file of this number follows."""
        if self._files and number > (expected := self._files[-1] + 1):
            self._find(f"{_names(expected, number - 1)} missing")
        self._files.append(number)
        self._line = 0

    def line(self, data: bytes) -> None:
        """A line with its line break; without one, or longer than MAX_LINE, it is a finding."""
        self._line += 1
        try:
            record, genuine = parse(data)
        except InvalidSpec as error:
            self._find_here(str(error))
            if self._last is not None:
                self._last = Head(self._last.number + 1, "")
            return
        self._records += 1
        if not genuine:
            self._find_here(f"record {record.number} was changed: its hash is not that of its text")
        if self._line == 1:
            self._begins(record)
        self._follows(record)
        if self._head and record.number == self._head.number and record.hash != self._head.hash:
            self._find_here(
                f"record {record.number} is not the one that the master wrote here:"
                " the trail was written anew"
            )
        self._last = self._end = record.head

    def _begins(self, record: Record) -> None:
        oldest = oldest_kept(record.entry)
        if oldest is None or record.entry.object != file_name(self._files[-1]):
            self._find_here("this is not how the file began: its first lines are missing")
        else:
            self._oldest = max(self._oldest, oldest)

    def _follows(self, record: Record) -> None:
        if self._last is None:
            self._first = record.number
            if self._files[-1] == 1 or record.number == 1:
                self._last = GENESIS
        last, number = self._last, record.number
        if last is None:
            return  # the older files were dropped: from here on
        if number > last.number + 1:
            gap = _range(last.number + 1, number - 1)
            self._find_here(f"{gap} missing before record {number}")
        elif number < last.number or (number == last.number and last.hash):
            self._find_here(f"record {number} stands after record {last.number}")
        elif last.hash and record.previous != last.hash:
            self._find_here(
                f"record {number} does not follow the one before it: that one was exchanged"
            )

    def report(self) -> Report:
        """All was read."""
        if self._files and self._files[0] > self._oldest:
            self._find(f"{_names(self._oldest, self._files[0] - 1)} missing")
        last = self._last or GENESIS
        if self._head and last.number < self._head.number:
            gap = _range(last.number + 1, self._head.number)
            self._find(f"the end is cut off: {gap} missing")
        if self._found > len(self._findings):
            self._findings.append(f"and {self._found - len(self._findings)} more")
        return Report(self._records, self._first, self._end, tuple(self._findings))

    def _find_here(self, what: str) -> None:
        self._find(f"{file_name(self._files[-1])}:{self._line}: {what}")

    def _find(self, what: str) -> None:
        self._found += 1
        if len(self._findings) < self._max:
            self._findings.append(what)


def _range(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


def _names(first: int, last: int) -> str:
    if first == last:
        return f"{file_name(first)} is"
    return f"{file_name(first)} to {file_name(last)} are"
