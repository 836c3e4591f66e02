"""The file `store.db`: its tables, and what is done with them. Blocking; used by one thread only.

Every change is one row of `log`, and `kv` says which row of `log` a key's present value is: a
value is written once, though it serves reading and watching. A row that a newer one replaced is
history; it goes when the history is trimmed.

The id of a row in `log` is its revision and, in the lower eight bits, its place in the
transaction. The store's revision is the highest in `log`; only trimming has to write it down.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from piccolo.core.errors import Compacted, Conflict, InvalidSpec, PiccoloError, Unavailable
from piccolo.store.base import Change, Condition, Delete, Entry, Operation, Snapshot
from piccolo.store.rules import conflict, key_bytes, key_range

FORMAT = 1
APPLICATION = 0x5049434F  # "PICO": marks the file as ours
BUSY_SECONDS = 1.0  # how long another program, such as a backup, may keep the file locked
PAGE_CHANGES = 256  # how much of the log is read at once, whichever comes first
PAGE_BYTES = 4_000_000

_SCHEMA = (
    "CREATE TABLE log (id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB)",
    "CREATE TABLE kv (key BLOB PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('revision', 0), ('compacted', 0)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)


@dataclass(frozen=True, slots=True)
class Transaction:
    operations: Sequence[Operation]
    conditions: Sequence[Condition]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of several transactions: for each its revision or why it was refused."""

    outcomes: Sequence[int | Conflict]
    changes: Sequence[Change]
    before: int
    after: int


class Database:
    """Opening raises `InvalidSpec` for a file that is damaged or not ours.

    Whatever else the disk does to us is `Unavailable`, here and in all methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = False
        with self._errors():
            # SQLite gives its other files the mode of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise
        self._open = True

    def _prepare(self) -> None:
        tables = self._one("SELECT count(*) FROM sqlite_master")
        if tables and self._one("PRAGMA application_id") != APPLICATION:
            raise InvalidSpec(
                f"{self._path} is a database of another program: choose another directory"
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if not tables:
            with self._transaction():
                for statement in _SCHEMA:
                    self._db.execute(statement)
        if self._one("PRAGMA user_version") > FORMAT:
            raise InvalidSpec(
                f"{self._path} was written by a newer PICCOLO: upgrade this one, or restore a "
                f"backup of its time"
            )
        if (finding := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise self._damaged(finding)

    def close(self) -> None:
        """Moves the write-ahead log into the file, as far as that is possible."""
        self._db.close()

    # ---- reading ----

    def revision(self) -> int:
        with self._errors():
            return self._revision()

    def get(self, key: str) -> Entry | None:
        with self._errors():
            row = self._db.execute(
                "SELECT log.value, log.id FROM kv JOIN log ON log.id = kv.id WHERE kv.key = ?",
                (key_bytes(key),),
            ).fetchone()
        return None if row is None else Entry(key, row[0], row[1] >> 8)

    def list(self, prefix: str) -> Snapshot:
        with self._errors():
            rows = self._db.execute(
                "SELECT kv.key, log.value, log.id FROM kv JOIN log ON log.id = kv.id "
                "WHERE kv.key >= ? AND kv.key < ? ORDER BY kv.key",
                key_range(prefix),
            )
            entries = tuple(Entry(key.decode(), value, id >> 8) for key, value, id in rows)
            return Snapshot(entries, self._revision())

    def replay(self, prefix: str, after: int) -> tuple[Sequence[Change], int]:
        """A page of the changes after a revision, and the revision that the page reaches up to.

        Raises `Compacted` when they are no longer kept.
        """
        with self._errors():
            revision, compacted = self._revision(), self._meta("compacted")
            if not compacted <= after <= revision:
                raise Compacted(
                    f"changes after revision {after} are not kept, only those after {compacted} "
                    f"up to {revision}: list again, then watch"
                )
            rows = self._db.execute(
                "SELECT id, key, value FROM log WHERE id >= ? AND key >= ? AND key < ? ORDER BY id",
                ((after + 1) << 8, *key_range(prefix)),
            )
            changes: list[Change] = []
            size = 0
            for id, key, value in rows:
                full = len(changes) >= PAGE_CHANGES or size >= PAGE_BYTES
                if full and id >> 8 != changes[-1].revision:
                    return changes, changes[-1].revision
                changes.append(Change(key.decode(), value, id >> 8))
                size += len(value or b"")
        return changes, revision

    # ---- writing ----

    def apply(self, transactions: Sequence[Transaction]) -> Applied:
        """Carry out several transactions, each by itself, with a single write to the disk.

        A transaction whose conditions do not hold has not written anything yet when that is
        found, so nothing of it has to be undone.
        """
        with self._errors(), self._transaction():
            before = revision = self._revision()
            compacted = self._meta("compacted")
            outcomes: list[int | Conflict] = []
            changes: list[Change] = []
            for transaction in transactions:
                if conflict := self._conflict(transaction.conditions):
                    outcomes.append(conflict)
                    continue
                made = self._write(transaction.operations, revision + 1, compacted)
                if made:
                    revision += 1
                    changes += made
                outcomes.append(revision)
        return Applied(outcomes, changes, before, revision)

    def _conflict(self, conditions: Sequence[Condition]) -> Conflict | None:
        for condition in conditions:
            found = (self._row_of(key_bytes(condition.key)) or 0) >> 8
            if found != condition.revision:
                return conflict(condition, found)
        return None

    def _write(self, operations: Sequence[Operation], revision: int, kept: int) -> Sequence[Change]:
        changes: list[Change] = []
        for operation in operations:
            key = key_bytes(operation.key)
            old = self._row_of(key)
            id = revision << 8 | len(changes)
            if isinstance(operation, Delete):
                if old is None:
                    continue
                value = None
                self._db.execute("DELETE FROM kv WHERE key = ?", (key,))
            else:
                value = operation.value
                self._db.execute(
                    "INSERT INTO kv VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET id = excluded.id",
                    (key, id),
                )
            self._db.execute("INSERT INTO log VALUES (?, ?, ?)", (id, key, value))
            if old is not None and old >> 8 <= kept:  # trimming has been here and will not return
                self._db.execute("DELETE FROM log WHERE id = ?", (old,))
            changes.append(Change(operation.key, value, revision))
        return changes

    def compact(self, revision: int) -> int:
        """Forget the history up to `revision`, at most all of it; returns the revision kept."""
        with self._errors(), self._transaction():
            now, compacted = self._revision(), self._meta("compacted")
            if revision > now:
                raise InvalidSpec(
                    f"cannot compact up to revision {revision}: the store is at {now}"
                )
            if revision <= compacted:
                return compacted
            self._db.execute(
                "DELETE FROM log WHERE id BETWEEN ? AND ? AND NOT EXISTS "
                "(SELECT 1 FROM kv WHERE kv.key = log.key AND kv.id = log.id)",
                ((compacted + 1) << 8, revision << 8 | 0xFF),
            )
            update = "UPDATE meta SET value = ? WHERE name = ?"
            self._db.executemany(update, [(now, "revision"), (revision, "compacted")])
            return revision

    def scrub(self) -> None:
        """Leave nothing in the files but what is stored now.

        VACUUM writes the database anew, from its rows; the write-ahead log, which has pages of
        before, is cut to nothing (sqlite.org/lang_vacuum.html, pragma.html#pragma_wal_checkpoint).
        """
        with self._errors():
            self._db.execute("PRAGMA temp_store = MEMORY")  # no copy in a directory of others
            self._db.execute("VACUUM")
            busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Unavailable(
                f"{self._path} is being read by another program, so that what it held before"
                f" cannot be removed: close that program, then try again"
            )

    def compacted(self) -> int:
        with self._errors():
            return self._meta("compacted")

    # ---- below ----

    def _row_of(self, key: bytes) -> int | None:
        row = self._db.execute("SELECT id FROM kv WHERE key = ?", (key,)).fetchone()
        return None if row is None else int(row[0])

    def _revision(self) -> int:
        return max(self._meta("revision"), (self._one("SELECT max(id) FROM log") or 0) >> 8)

    def _meta(self, name: str) -> int:
        return self._one(f"SELECT value FROM meta WHERE name = '{name}'")

    def _one(self, query: str) -> int:
        value: int = self._db.execute(query).fetchone()[0]
        return value

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk makes SQLite roll back by itself
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors become ours here, and nowhere else."""
        try:
            yield
        except OSError as error:
            raise Unavailable(f"cannot open {self._path}: {error.strerror}") from error
        except UnicodeDecodeError as error:  # of what a message quotes, or of a key
            raise self._damaged(f"it holds what is no text: {error.object!r:.100}") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._damaged(str(error)) from error
            if code == sqlite3.SQLITE_FULL:
                raise Unavailable(
                    f"no space left on the disk of {self._path}: make room, then try again"
                ) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unavailable(
                    f"{self._path} is locked by another program: close it, then try again"
                ) from error
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise Unavailable(f"cannot use {self._path}: {error} ({name})") from error

    def _damaged(self, finding: str) -> PiccoloError:
        path, name = self._path, self._path.name
        return (Unavailable if self._open else InvalidSpec)(
            f"the database {path} is damaged ({finding.splitlines()[-1]}): restore it from a "
            f"backup, or move it away, with {name}-wal and {name}-shm, to start empty"
        )
