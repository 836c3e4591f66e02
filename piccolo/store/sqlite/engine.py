"""The embedded store: a database in a thread of its own.

Transactions that wait while another is being written to the disk are written together, with one
fsync for all; each succeeds or fails by itself. What they changed is handed to the watchers from
memory; a watcher that was away longer reads it from the database.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from piccolo.core.errors import Compacted, PiccoloError, Unavailable
from piccolo.store.base import Change, Condition, Entry, Operation, Snapshot
from piccolo.store.changelog import ChangeLog
from piccolo.store.rules import check, key_bytes, key_range
from piccolo.store.sqlite.database import Applied, Database, Transaction
from piccolo.store.sqlite.lock import DirectoryLock

T = TypeVar("T")

TAIL_CHANGES = 1_000  # what watchers get from memory
TAIL_BYTES = 4_000_000

log = logging.getLogger(__name__)


async def open_sqlite(directory: Path, *, history: int = 10_000) -> SqliteStore:
    """The store in `directory`, which is made if it is not there.

    `history`: how many revisions are kept for watchers that come back. Raises `Conflict` when
    another master has it open, `InvalidSpec` when its file is damaged or not ours, `Unavailable`
    when the disk does not let us.
    """
    store = SqliteStore(directory, history)
    await store._start()
    return store


@dataclass(frozen=True, slots=True)
class _Commit:
    transaction: Transaction
    answer: asyncio.Future[int]


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[Database], Any]
    answer: asyncio.Future[Any]


_Job = _Commit | _Call | None  # None: close the store


class SqliteStore:
    """See `piccolo.store.base.Store`. Made by `open_sqlite`."""

    def __init__(self, directory: Path, history: int) -> None:
        self._directory = directory
        self._history = history
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._opened: asyncio.Future[int] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._closing = False
        self._tail = ChangeLog(0, max_changes=TAIL_CHANGES, max_bytes=TAIL_BYTES)
        # A daemon, so that a program that forgot to close the store still ends.
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)

    async def _start(self) -> None:
        self._thread.start()
        try:
            self._tail.reset(await asyncio.shield(self._opened))
        except BaseException:
            await self.close()
            raise

    async def get(self, key: str) -> Entry | None:
        key_bytes(key)
        return await self._run(lambda database: database.get(key))

    async def list(self, prefix: str) -> Snapshot:
        key_range(prefix)
        return await self._run(lambda database: database.list(prefix))

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        check(operations, conditions)
        answer: asyncio.Future[int] = self._loop.create_future()
        self._submit(_Commit(Transaction(tuple(operations), tuple(conditions)), answer))
        return await answer

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        while True:
            changes, after = await self._changes(prefix, after)
            for change in changes:
                if change.key.startswith(prefix):
                    yield change
            await self._tail.news(after)

    async def _changes(self, prefix: str, after: int) -> tuple[Sequence[Change], int]:
        """Some or all of the changes after a revision, and the revision they reach up to."""
        try:
            return self._tail.since(after), self._tail.revision
        except Compacted:
            return await self._run(lambda database: database.replay(prefix, after))

    async def compact(self, revision: int) -> None:
        await self._run(lambda database: self._compact(database, revision))
        self._tail.trim(revision)

    async def scrub(self) -> str:
        revision = await self._run(self._scrub)
        self._tail.trim(revision)
        return ""

    async def close(self) -> None:
        self._tail.close(Unavailable("the store is closed"))
        if not self._closing:
            self._closing = True
            self._jobs.put(None)
        await self._ended.wait()
        self._thread.join()  # it has nothing left to do

    async def _run(self, function: Callable[[Database], T]) -> T:
        answer: asyncio.Future[T] = self._loop.create_future()
        self._submit(_Call(function, answer))
        return await answer

    def _submit(self, job: _Job) -> None:
        if self._closing:
            raise Unavailable("the store is closed")
        self._jobs.put(job)

    # ---- called by the thread, carried out by the event loop ----

    def _published(self, jobs: Sequence[_Commit], applied: Applied) -> None:
        if self._tail.revision != applied.before:  # a write that failed came through after all
            self._tail.reset(applied.before)
        self._tail.append(applied.changes, applied.after)
        for job, outcome in zip(jobs, applied.outcomes, strict=True):
            _settle(job.answer, outcome)

    def _post(self, function: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody waits for this any more
            log.debug("the event loop ended before the store was closed")

    # ---- the thread ----

    def _serve(self) -> None:
        try:
            lock = self._prepare()
            try:
                database = Database(self._directory / "store.db")
                try:
                    self._compacted = database.compacted()
                    self._post(_settle, self._opened, database.revision())
                    while self._work(database):
                        pass
                finally:
                    database.close()
            finally:
                lock.release()
        except Exception as error:
            self._post(_settle, self._opened, error)
        finally:
            self._post(self._ended.set)

    def _prepare(self) -> DirectoryLock:
        try:
            fresh = not self._directory.exists()
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = DirectoryLock(self._directory)
            if fresh:
                _sync(self._directory.parent)
        except OSError as error:
            raise Unavailable(
                f"cannot use the directory {self._directory}: {error.strerror}"
            ) from error
        return lock

    def _work(self, database: Database) -> bool:
        """Carry out what waits; False: that was the end."""
        jobs = [self._jobs.get()]
        while jobs[-1] is not None and not self._jobs.empty():
            jobs.append(self._jobs.get())
        for kind, group in itertools.groupby(jobs, type):
            if kind is _Commit:
                self._write(database, [job for job in group if isinstance(job, _Commit)])
                continue
            for job in group:
                if isinstance(job, _Call) and not job.answer.cancelled():
                    try:
                        self._post(_settle, job.answer, job.function(database))
                    except Exception as error:
                        self._post(_settle, job.answer, error)
        return jobs[-1] is not None

    def _write(self, database: Database, waiting: Sequence[_Commit]) -> None:
        jobs = [job for job in waiting if not job.answer.cancelled()]
        try:
            applied = database.apply([job.transaction for job in jobs])
        except Exception as error:
            for job in jobs:
                self._post(_settle, job.answer, error)
            return
        self._post(self._published, jobs, applied)
        # Some slack, so that trimming is not a part of every commit.
        if applied.after - self._compacted > self._history + self._history // 10:
            try:
                self._compact(database, applied.after - self._history)
            except PiccoloError as error:
                log.warning("cannot trim the store's history: %s", error)

    def _scrub(self, database: Database) -> int:
        self._compact(database, revision := database.revision())
        database.scrub()
        return revision

    def _compact(self, database: Database, revision: int) -> None:
        self._compacted = database.compact(revision)


def _settle(answer: asyncio.Future[Any], outcome: object) -> None:
    if answer.done():  # cancelled
        return
    if isinstance(outcome, PiccoloError):
        outcome = type(outcome)(*outcome.args)  # several may wait for the same one
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _sync(directory: Path) -> None:
    """Make the directory's own entries durable."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
