"""What happened here, kept until the master has it: in order, each once.

Whatever happens has a number in a stream. It is sent in order, in batches, again after each
interruption, and forgotten when the master has it; the master tells by the number what it has
already. The buffer is bounded: the oldest go first, and how many is told.

While there is no master it is also on the disk (unsynced: what a power cut takes is a few seconds'
worth), so that an agent that is killed, or a node that boots anew, has it still. With a master that
keeps up nothing is ever written. Who finds such a file goes on with its stream, and leaves out the
numbers that may have been used since it was written; who finds none begins a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from piccolo.core import plain
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import Severity
from piccolo.core.workloads.instances import Happening

log = logging.getLogger(__name__)

MOST, MOST_BYTES = 500, 256 * 1024
BATCH, BATCH_BYTES = 100, 64 * 1024
_TOGETHER = 0.2  # s: what happens within is written at once
_SKIPPED = 1_000_000  # numbers
_LONGEST = 4096  # characters of a message
_NUMBERS = 1 << 62  # all numbers are below
_DAMAGED = (ValueError, TypeError, RecursionError, InvalidSpec)  # such as by a power cut
_AROUND = 160  # bytes of an event besides its texts, roughly


@dataclass(frozen=True, slots=True)
class Batch:
    stream: str
    happenings: tuple[Happening, ...]
    lost: int  # so many that were before these


@dataclass(slots=True)
class _Kept:
    happening: Happening
    final: bool = False  # the master may have it already
    written: bool = False  # to the disk, as it is

    @property
    def size(self) -> int:
        h = self.happening
        return _AROUND + len(h.subject) + len(h.reason) + len(h.message)


class Journal:
    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.stream = uuid.uuid4().hex
        self.news = asyncio.Event()  # there may be something to send; whoever waits clears it
        self._path = path
        self._now = now
        self._seq = 0
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._lost = 0
        self._sent = 0  # so many of the first are on their way, and stay as they are
        self._sent_lost = 0
        self._connected = False
        self._on_disk = 0  # bytes
        self._write = asyncio.Event()

    # ---- what happens ----

    def note(self, severity: Severity, subject: str, reason: str, message: str) -> None:
        message = message[:_LONGEST]
        last = self._kept[-1] if self._kept else None
        if last is not None and not last.final:
            h = last.happening
            if (h.severity, h.subject, h.reason, h.message) == (severity, subject, reason, message):
                last.happening = replace(h, count=h.count + 1, time=self._now())
                last.written = False
                self._told()
                return
        self._seq += 1
        happening = Happening(self._seq, self._now(), severity, subject, reason, message)
        self._add(_Kept(happening))
        self._told()

    def _add(self, kept: _Kept) -> None:
        self._kept.append(kept)
        self._bytes += kept.size
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            gone = self._kept[self._sent]  # the oldest that is not on its way
            del self._kept[self._sent]
            self._bytes -= gone.size
            self._lost += 1

    def _told(self) -> None:
        self.news.set()
        if not self._connected:
            self._write.set()

    # ---- the master ----

    def connected(self) -> None:
        """A session begins: all that is not acknowledged is to be sent."""
        self._connected = True
        self._sent = self._sent_lost = 0
        self.news.set()

    def disconnected(self) -> None:
        self._connected = False
        self._sent = self._sent_lost = 0
        if self._kept:
            self._write.set()

    @property
    def under_way(self) -> bool:
        """A batch was taken, and is not acknowledged yet."""
        return self._sent > 0

    def next_batch(self) -> Batch | None:
        """What to send now; the same until it is acknowledged, or a new session begins. None:
        nothing."""
        if not self._kept:
            return None
        if not self._sent:
            self._sent_lost, size = self._lost, 0
            for kept in islice(self._kept, BATCH):
                size += kept.size
                if self._sent and size > BATCH_BYTES:
                    break
                self._sent += 1
                kept.final = True
        happenings = tuple(k.happening for k in islice(self._kept, self._sent))
        return Batch(self.stream, happenings, self._sent_lost)

    def acknowledged(self, stream: str, seq: int) -> None:
        """The master has everything of `stream` up to `seq`."""
        if stream != self.stream or not self._kept or self._kept[0].happening.seq > seq:
            return  # it has been told before
        while self._kept and self._kept[0].happening.seq <= seq:
            self._bytes -= self._kept.popleft().size
        self._lost -= self._sent_lost
        self._sent = self._sent_lost = 0
        self.news.set()
        if self._on_disk and not self._any_written():
            self._write.set()

    def forget(self) -> None:
        """Nobody is to have it any more."""
        self._kept.clear()
        self._bytes = self._lost = self._sent = self._sent_lost = 0
        self._write.set()

    # ---- the disk ----

    def load(self) -> None:
        """What former runs of the agent left. Blocking."""
        try:
            with self._path.open("rb") as file:
                lines = file.readlines()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("cannot read %s: %s", self._path, error.strerror)
            return
        self._on_disk = sum(map(len, lines))
        found: dict[int, Happening] = {}  # of the same number the last one counts
        for line in lines:
            with contextlib.suppress(*_DAMAGED):
                stream, text = json.loads(line)
                happening = _sound(plain.decode(Happening, str(text).encode(), "what happened"))
                str(stream).encode()
                self.stream = str(stream)
                found[happening.seq] = happening
        for seq in sorted(found):  # in a damaged file they may go down; the master skips such
            self._add(_Kept(found[seq], final=True, written=True))
            self._seq = seq + _SKIPPED

    async def run(self) -> None:
        """Keep the disk as it should be, for ever."""
        while True:
            await self._write.wait()
            if not self._connected:
                await asyncio.sleep(_TOGETHER)
            self._write.clear()
            await asyncio.to_thread(self._written, *self._due())

    def close(self) -> None:
        """The agent ends: what is not acknowledged goes to the disk. Blocking."""
        self._connected = False
        self._written(*self._due())

    def _any_written(self) -> bool:
        """Whether there is anything on the disk that the master may not have."""
        return any(k.written for k in self._kept)

    def _due(self) -> tuple[bytes, bool]:
        """What to write, and whether it is instead of all that is there."""
        if self._connected and self._any_written():
            return b"", False
        anew = not self._any_written() or self._on_disk > 2 * MOST_BYTES
        if self._connected:
            return b"", anew
        due = [k for k in self._kept if anew or not k.written]
        for kept in due:
            kept.written = True
        return b"".join(map(self._line, due)), anew

    def _line(self, kept: _Kept) -> bytes:
        return json.dumps([self.stream, plain.encode(kept.happening).decode()]).encode() + b"\n"

    def _written(self, data: bytes, anew: bool) -> None:
        try:
            if anew and not data:
                self._path.unlink(missing_ok=True)
            elif data:
                path = self._path.with_suffix(".new") if anew else self._path
                flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if anew else os.O_APPEND)
                with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:
                    file.write(data)
                if anew:
                    path.replace(self._path)
        except OSError as error:
            log.warning("events are not kept on the disk: %s: %s", self._path, error.strerror)
            self._on_disk = 3 * MOST_BYTES  # who knows what is there: write it anew
        else:
            self._on_disk = len(data) if anew else self._on_disk + len(data)


def _sound(found: Happening) -> Happening:
    """Raises `ValueError` for what no message could say, or would not be believed."""
    Severity(found.severity)
    if not (0 < found.seq < _NUMBERS and 0 < found.count < 1 << 32):
        raise ValueError("a number is damaged")
    return found
