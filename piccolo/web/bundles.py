"""The bundles in the master's directory: of its own version, whole, and for which machines.

What is served is what stands in the table made here, never a path that somebody asked for. A file
is read through once, in a thread, and again when it has become another one: half a copy, or what
anybody could have written, is named and not offered.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"piccolo-(?P<version>[^-/]+)-linux-(?P<machine>amd64|arm64|arm)\.tar\.gz")
_PIECE = 256 << 10  # bytes in memory at a time
_GZIP = 31  # zlib: with the header of gzip (RFC 1952)


class _Look(NamedTuple):
    """As long as this is the same, so is the file."""

    size: int
    mtime: int  # ns
    inode: int

    @classmethod
    def at(cls, found: os.stat_result) -> _Look:
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole one, as it was when it was read."""

    machine: str  # amd64 | arm64 | arm
    path: Path
    look: _Look
    sha256: str  # hexadecimal
    unpacked: int  # bytes

    @property
    def size(self) -> int:
        return self.look.size


@dataclass(frozen=True, slots=True)
class Found:
    """What the directory had when it was looked at."""

    offered: Mapping[str, Bundle] = field(default_factory=dict)  # by machine
    refused: tuple[str, ...] = ()  # sentences: which file, and why not


class Bundles:
    def __init__(self, directory: Path, version: str) -> None:
        self.directory = directory
        self.version = version
        # What was read last for a machine; a reason, where it is no good.
        self._known: dict[str, tuple[_Look, Bundle | str]] = {}
        self._turn = asyncio.Lock()

    async def find(self) -> Found:
        """What there is now."""
        async with self._turn:
            return await asyncio.to_thread(self._find)

    async def open(self, machine: str) -> tuple[Bundle, int] | None:
        """The bundle for that machine, and a descriptor of it, which the caller closes. It stays
        what it is when another one takes its place. None: there is none.
        """
        async with self._turn:
            return await asyncio.to_thread(self._open, machine)

    def _open(self, machine: str) -> tuple[Bundle, int] | None:
        bundle = self._find().offered.get(machine)
        if bundle is None:
            return None
        try:
            descriptor = os.open(bundle.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        if _Look.at(os.fstat(descriptor)) != bundle.look:
            os.close(descriptor)
            return None
        return bundle, descriptor

    def _find(self) -> Found:
        try:
            names = sorted(os.listdir(self.directory))
            if os.stat(self.directory).st_mode & stat.S_IWOTH:
                return Found(refused=(f"anybody may write to {self.directory}: chmod o-w it",))
        except FileNotFoundError:
            return Found()
        except OSError as error:
            return Found(refused=(f"{self.directory} cannot be read: {error.strerror}",))
        offered: dict[str, Bundle] = {}
        refused: list[str] = []
        for name in names:
            match = _NAME.fullmatch(name)
            if match is None:
                continue
            path = self.directory / name
            if match["version"] != self.version:
                refused.append(f"{name} is of version {match['version']}")
                continue
            try:
                verdict = self._judge(path, match["machine"])
            except OSError as error:
                verdict = f"cannot be read: {error.strerror}"
            if isinstance(verdict, Bundle):
                offered[verdict.machine] = verdict
            else:
                refused.append(f"{name} {verdict}")
        return Found(offered, tuple(refused))

    def _judge(self, path: Path, machine: str) -> Bundle | str:
        """Or why it is no good. Raises `OSError`."""
        state = os.stat(path)
        look = _Look.at(state)
        if not stat.S_ISREG(state.st_mode):
            return "is no file"
        if state.st_mode & stat.S_IWOTH:
            return "may be written to by anybody: chmod o-w it"
        known = self._known.get(machine)
        if known is not None and known[0] == look:
            return known[1]
        verdict: Bundle | str
        try:
            sha256, unpacked = _read(path)
        except zlib.error:
            verdict = "is damaged: copy it again"
        else:
            if unpacked is None:
                verdict = "is not whole: copy it again"
            else:
                verdict = Bundle(machine, path, look, sha256, unpacked)
        self._known[machine] = look, verdict
        return verdict


def _read(path: Path) -> tuple[str, int | None]:
    """Its SHA-256, and how much it is unpacked; None: it breaks off, or goes on behind its end.

    Raises `OSError`, and `zlib.error` for what is no gzip, or whose checksum is wrong.
    """
    digest, gzip, unpacked, behind = hashlib.sha256(), zlib.decompressobj(_GZIP), 0, False
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            behind |= gzip.eof
            made = _PIECE
            while not gzip.eof and (piece or made == _PIECE):
                made = len(gzip.decompress(piece, _PIECE))
                unpacked += made
                piece = gzip.unconsumed_tail
    whole = gzip.eof and not behind and not gzip.unused_data
    return digest.hexdigest(), unpacked if whole else None
