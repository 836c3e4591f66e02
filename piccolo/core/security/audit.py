"""The audit trail's lines: how they are chained to each other, and how a broken chain is noticed.

One line is one record: JSON in ASCII, so that nothing in a name can end a line or drive a terminal.
Each holds the hash of the line before it, and ends with its own: the SHA-256 of all that stands
before `,"hash":`. So no line can be changed, taken out, put in or moved without all later ones
being written anew; and that shows as soon as one later hash is known from elsewhere (`Head`).
How a chain is checked stands in `core.security.audit_check`.

Every file begins with a record that names it, and the oldest file that was kept when it was begun:
so neither the beginning of a file nor a whole file can go unnoticed either.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from piccolo.core.errors import InvalidSpec

FILE_BEGUN = "AuditFileBegun"
MAX_LINE = 1 << 15  # bytes; more than the longest texts can take
_LONGEST = {"actor": 160, "source": 80, "action": 80, "object": 320, "reason": 640}  # characters

_MAX_NUMBER = 1 << 62
_FILE = re.compile(r"audit-([0-9]{6,12})\.jsonl")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """Who did what from where, and whether they were let."""

    time: datetime  # UTC
    actor: str  # "admin:admin", "agent:ID", "anonymous", "master"
    source: str  # "10.0.0.2:40112"
    action: str  # "RemoveNode", "Session"
    object: str = ""  # "node n1"
    allowed: bool = True
    reason: str = ""
    count: int = 1  # so many of the same, gathered into one

    def bounded(self) -> Entry:
        """With texts that are valid Unicode and not too long for a line."""
        cut = {name: _cut(getattr(self, name), longest) for name, longest in _LONGEST.items()}
        return Entry(self.time, allowed=self.allowed, count=self.count, **cut)


def _cut(text: str, longest: int) -> str:
    valid = text.encode(errors="backslashreplace").decode()  # lone surrogates cannot be sent
    return valid if len(valid) <= longest else valid[: longest - 1] + "…"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: number and hash of its last record."""

    number: int
    hash: str  # 64 hexadecimal digits


GENESIS = Head(0, "0" * 64)  # what the first record follows


@dataclass(frozen=True, slots=True)
class Record:
    """An entry in its place."""

    number: int
    entry: Entry
    previous: str  # hash of the record before
    hash: str

    @property
    def head(self) -> Head:
        return Head(self.number, self.hash)


def chain(entry: Entry, after: Head) -> tuple[bytes, Head]:
    """The line of `entry` behind `after`, with its line break, and the new end of the chain."""
    content = _content(after.number + 1, entry.bounded(), after.hash)
    hash_ = _hash(content)
    return _line(content, hash_), Head(after.number + 1, hash_)


def parse(line: bytes) -> tuple[Record, bool]:
    """The record in a line, and whether its hash is that of its content.

    Raises `InvalidSpec`, saying why, for what is no record as `chain` writes it.
    """
    if not line.endswith(b"\n"):
        raise InvalidSpec("is cut off")
    try:
        raw = json.loads(line)
        time = datetime.fromisoformat(raw["time"])
        entry = Entry(time, **{f.name: raw[f.name] for f in fields(Entry)[1:]})
        record = Record(raw["number"], entry, raw["previous"], raw["hash"])
        valid = all(
            (
                type(record.number) is int and 0 < record.number < _MAX_NUMBER,
                time.tzinfo is not None,
                all(type(getattr(entry, name)) is str for name in _LONGEST),
                type(entry.allowed) is bool,
                type(entry.count) is int and 0 < entry.count < 1 << 31,
                _HASH.fullmatch(record.previous),
                _HASH.fullmatch(record.hash),
            )
        )
        content = _content(record.number, entry, record.previous)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        valid, content = False, b""
    if not valid or _line(content, record.hash) != line:
        raise InvalidSpec("is no record as the master writes them")
    return record, _hash(content) == record.hash


def time_text(time: datetime) -> str:
    """RFC 3339, UTC, with microseconds."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _content(number: int, e: Entry, previous: str) -> bytes:
    """A line without its hash and closing brace."""
    values = {
        "number": number,
        "time": time_text(e.time),
        "actor": e.actor,
        "source": e.source,
        "action": e.action,
        "object": e.object,
        "allowed": e.allowed,
        "reason": e.reason,
        "count": e.count,
        "previous": previous,
    }
    return json.dumps(values, separators=(",", ":")).encode()[:-1]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _line(content: bytes, hash_: str) -> bytes:
    return content + b',"hash":"' + hash_.encode() + b'"}\n'


# ---- files ----


def file_name(number: int) -> str:
    return f"audit-{number:06d}.jsonl"


def file_number(name: str) -> int | None:
    """None: the name is that of no file of an audit trail."""
    match = _FILE.fullmatch(name)
    return int(match[1]) if match and name == file_name(int(match[1])) else None


def beginning(time: datetime, number: int, oldest: int) -> Entry:
    """What the file `number` begins with; files before `oldest` are no longer kept."""
    reason = f"the oldest file kept is {file_name(oldest)}"
    return Entry(time, "master", "", FILE_BEGUN, file_name(number), reason=reason)


def oldest_kept(entry: Entry) -> int | None:
    """What a file's `beginning` says of the oldest file; None: this is not one."""
    if entry.action != FILE_BEGUN:
        return None
    return file_number(entry.reason.rpartition(" ")[2])
