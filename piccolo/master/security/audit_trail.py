"""The audit trail: who did what from where, allowed or denied (HLD 9.3).

`record` only notes; a task hands what was noted to a thread, which writes at once and makes it
durable within a second. When the disk refuses, records wait in memory, bounded, and the trail says
itself how many were lost. An idle cluster writes nothing. The end of the chain is kept in the store
too, so that a trail which was cut or written anew is recognised; see `core.security.audit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from piccolo.config.settings import AuditSettings
from piccolo.core.errors import InvalidSpec, PiccoloError
from piccolo.core.model import Severity
from piccolo.core.repeats import Repeats
from piccolo.core.security.audit import GENESIS, Entry, Head
from piccolo.core.security.audit_check import Report
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.security.audit_files import REPAIRED, AuditFiles
from piccolo.master.security.audit_reading import Reader, verify
from piccolo.master.state_manager import StateManager

log = logging.getLogger(__name__)

SYNC_DELAY = 0.5  # s from writing to fsync: what comes meanwhile is made durable with it
RETRY = 5.0  # s between two attempts while the disk refuses
MAX_WAITING = 1000  # records in memory
_CLOSE = 5.0  # s that the end of the master waits for the disk


class AuditTrail:
    """Keep `run` running; `close` last of all, but before the store."""

    def __init__(
        self, files: AuditFiles, clock: Clock, state: StateManager, events: EventLog
    ) -> None:
        """Opened by `open`."""
        self._files = files
        self._clock = clock
        self._state = state
        self._events = events
        self._waiting: deque[Entry] = deque()
        self._lost = 0
        self._repeats = Repeats()
        self._news = asyncio.Event()
        self._sync_at: float | None = None  # monotonic; None: all is on disk
        self._retry_at: float | None = None  # None: the disk takes what it is given
        self._followers: set[asyncio.Event] = set()
        # One thread, so that a write that hangs is never overtaken; it starts with the first one.
        self._thread = ThreadPoolExecutor(1, "audit")

    @classmethod
    def open(
        cls,
        directory: Path,
        clock: Clock,
        state: StateManager,
        events: EventLog,
        settings: AuditSettings,
    ) -> AuditTrail:
        """The trail in `directory`, which is made, and repaired after a crash.

        Reads and writes a little. Raises `InvalidSpec` when others can look into the directory; a
        disk that refuses is an event, and is tried again.
        """
        files = AuditFiles(directory, settings, clock.utc, state.get(keys.AUDIT_HEAD, Head))
        trail = cls(files, clock, state, events)
        try:
            files.resume()
            files.sync()
        except InvalidSpec:
            raise
        except (OSError, PiccoloError) as error:
            trail._refused(error)
        trail._tell()
        return trail

    @property
    def reads(self) -> bool:
        """Whether what people only look at is to be recorded too."""
        return self._files.limits.reads

    def configure(self, settings: AuditSettings) -> None:
        self._files.limits = settings

    # ---- writing ----

    def record(
        self,
        actor: str,
        source: str,
        action: str,
        object: str = "",
        *,
        allowed: bool,
        reason: str = "",
    ) -> None:
        """Note it, to be written at once. What is denied over and over is gathered: the first at
        once, then all of the same within 10 s as one with their number.
        """
        entry = Entry(self._clock.utc(), actor, source, action, object, allowed, reason).bounded()
        now = self._clock.monotonic()
        self._note(*self._repeats.over(now))
        if allowed:
            self._note(entry)
        else:
            self._note(*self._repeats.add(entry, now))

    def _note(self, *entries: Entry) -> None:
        for entry in entries:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(entry)
            else:
                self._lost += 1
            self._news.set()

    async def run(self) -> None:
        while True:
            await self._wait()
            now = self._clock.monotonic()
            self._note(*self._repeats.over(now))
            await self._write(sync=self._sync_at is not None and now >= self._sync_at)

    async def _wait(self) -> None:
        """For something to write, or the time to do what was put off."""
        if self._retry_at is not None:
            await asyncio.sleep(self._retry_at - self._clock.monotonic())
            return
        times = [t for t in (self._sync_at, self._repeats.next()) if t is not None]
        delay = min(times) - self._clock.monotonic() if times else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._news.wait()
        self._news.clear()

    async def _write(self, *, sync: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._drain, sync)
        except (OSError, PiccoloError) as error:
            self._refused(error)
        else:
            self._taken()
        self._tell()

    def _drain(self, sync: bool) -> None:
        """In the thread."""
        self._files.resume()
        while self._waiting:
            self._files.append(self._waiting[0])
            self._waiting.popleft()
        if sync:
            self._files.sync()

    def _refused(self, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if self._retry_at is None:
            self._event(Severity.ERROR, "AuditUnavailable", f"cannot write: {reason}; records wait")
        self._retry_at = self._clock.monotonic() + RETRY

    def _taken(self) -> None:
        if self._retry_at is not None:
            self._retry_at = None
            self._event(Severity.INFO, "AuditRecovered", "all that waited was written")
        if self._lost:
            lost, self._lost = self._lost, 0
            reason = f"{lost} records were lost: more came than could wait for the disk"
            self._note(self._of_master("AuditLost", reason, count=lost))

    def _tell(self) -> None:
        """Whoever is concerned of what the thread has done."""
        while self._files.notes:
            kind, what = self._files.notes.pop(0)
            severity = Severity.WARNING if kind == REPAIRED else Severity.ERROR
            self._event(severity, kind, what)
        synced = self._files.synced
        if synced not in (GENESIS, self._state.get(keys.AUDIT_HEAD, Head)):
            self._state.observe(keys.AUDIT_HEAD, synced)
        if synced == self._files.head:
            self._sync_at = None
        elif self._sync_at is None:
            self._sync_at = self._clock.monotonic() + SYNC_DELAY
        for follower in self._followers:
            follower.set()

    def _event(self, severity: Severity, reason: str, message: str) -> None:
        message = f"{message} ({self._files.directory})"
        self._events.add(severity, "master", "audit", reason, message)

    def _of_master(self, action: str, reason: str, count: int = 1) -> Entry:
        return Entry(self._clock.utc(), "master", "", action, reason=reason, count=count)

    async def close(self) -> None:
        """Write all that waits. Nothing may be recorded afterwards."""
        self._note(*self._repeats.all())
        try:
            async with asyncio.timeout(_CLOSE):
                await self._write(sync=True)
                if self._waiting:  # how many were lost
                    await self._write(sync=True)
        except TimeoutError:
            log.error("the disk does not answer")
        else:
            self._files.close()
        if self._waiting:
            log.error("%d records of the audit trail could not be written", len(self._waiting))
        self._thread.shutdown(wait=False, cancel_futures=True)

    # ---- reading ----

    async def lines(self, *, follow: bool = False) -> AsyncGenerator[list[bytes], None]:
        """The lines of the trail, some at a time; with `follow` then what is added, for ever.

        Raises `Unavailable` when a file cannot be read.
        """
        await self._write(sync=False)  # also what was recorded this moment
        reader = Reader(self._files.directory)
        changed = asyncio.Event()
        self._followers.add(changed)
        try:
            while True:
                changed.clear()
                if found := await asyncio.to_thread(reader.next):
                    yield found
                elif follow:
                    await changed.wait()
                else:
                    return
        finally:
            self._followers.discard(changed)

    async def verify(self) -> Report:
        """Check the whole trail, up to what was recorded until now. Raises `Unavailable`."""
        await self._write(sync=True)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._verify)

    def _verify(self) -> Report:
        """In the thread: nothing is written meanwhile."""
        return verify(self._files.directory, self._files.head)
