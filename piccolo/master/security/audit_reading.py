"""Reading and verifying the files of an audit trail, also of a copy, without a master.

Everything here blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from piccolo.core.errors import NotFound, Unavailable
from piccolo.core.security import audit
from piccolo.core.security.audit import GENESIS, MAX_LINE, Head, file_name
from piccolo.core.security.audit_check import Report, Verifier


def file_numbers(directory: Path) -> list[int]:
    """Of the files there are, in their order. Raises `OSError`."""
    try:
        found = (audit.file_number(name) for name in os.listdir(directory))
    except FileNotFoundError:
        return []
    return sorted(number for number in found if number is not None)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their line breaks; one that is too long is cut. Raises `OSError`."""
    with path.open("rb") as file:
        while line := _line(file):
            yield line


def some_lines(path: Path, offset: int, limit: int = 256) -> tuple[list[bytes], int]:
    """The next complete lines from `offset` (bytes), and where to go on. Raises `OSError`."""
    found: list[bytes] = []
    with path.open("rb") as file:
        file.seek(offset)
        while len(found) < limit and (line := _line(file)).endswith(b"\n"):
            found.append(line)
            offset = file.tell()
    return found, offset


def _line(file: BinaryIO) -> bytes:
    line = rest = file.readline(MAX_LINE)
    while len(rest) == MAX_LINE and not rest.endswith(b"\n"):
        rest = file.readline(MAX_LINE)
    if rest is line:
        return line
    return line + b"\n" if rest.endswith(b"\n") else line


def verify(directory: Path, head: Head | None = None) -> Report:
    """Check a whole trail; `head`: an end it is known to have had.

    Raises `NotFound` when there is no trail and none is known of, `Unavailable`.
    """
    verifier = Verifier(head)
    try:
        numbers = file_numbers(directory)
        if not numbers and (head or GENESIS) == GENESIS:
            raise NotFound(f"there are no files of an audit trail (audit-*.jsonl) in {directory}")
        for number in numbers:
            verifier.file(number)
            for line in lines(directory / file_name(number)):
                verifier.line(line)
    except OSError as error:
        raise Unavailable(f"cannot read {error.filename or directory}: {error.strerror}") from error
    return verifier.report()


@dataclass(slots=True)
class Reader:
    """Goes through a trail that grows and is rotated meanwhile, some lines at a time."""

    directory: Path
    number: int = 0  # of the file that is read
    offset: int = 0  # bytes of it that were

    def next(self) -> list[bytes]:
        """Empty: that was all for now. Raises `Unavailable`."""
        try:
            while True:
                there = file_numbers(self.directory)  # first, so that a file before is complete
                later = [n for n in there if n > self.number]
                if self.number in there:
                    path = self.directory / file_name(self.number)
                    found, self.offset = some_lines(path, self.offset)
                    if found or not later:
                        return found
                elif not later:
                    return []
                self.number, self.offset = later[0], 0
        except FileNotFoundError:
            return self.next()  # dropped this moment
        except OSError as error:
            raise Unavailable(f"cannot read the audit trail: {error.strerror}") from error
