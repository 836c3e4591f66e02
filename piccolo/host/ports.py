"""Who has a port of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from piccolo.core.readiness.facts import Listener
from piccolo.host.bounded import text

_TABLES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
_WAITS = {"tcp": "0A", "udp": "07"}  # LISTEN; a socket of UDP that is bound and not connected


def listeners(root: Path, port: int) -> tuple[Listener, ...]:
    """Sockets that wait at `port`, at whatever address: a master wants all of them."""
    found = []
    for table, protocol in _TABLES:
        for inode in _waiting(text(root / "proc/net" / table), port, _WAITS[protocol]):
            words = _owner(root / "proc", inode).split("\0")
            found.append(Listener(protocol, words[0], _is_master(words)))
    return tuple(found)


def _waiting(table: str, port: int, state: str) -> Iterator[str]:
    """The inodes. Columns: sl local_address rem_address st … inode at the tenth."""
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) > 9 and words[3] == state and words[1].endswith(f":{port:04X}"):
            yield words[9]


def _owner(proc: Path, inode: str) -> str:
    """The command line of the process that has the socket; empty: it cannot be seen."""
    wanted = f"socket:[{inode}]"
    for process in proc.iterdir():
        if process.name.isdigit() and wanted in _open_files(process / "fd"):
            return text(process / "cmdline")
    return ""


def _is_master(words: Sequence[str]) -> bool:
    """Whether it is `piccolo … master …`, run by an interpreter or not."""
    names = [Path(word).name for word in words]
    return "piccolo" in names and "master" in words[names.index("piccolo") + 1 :]


def _open_files(directory: Path) -> Iterator[str]:
    """Of a process that may end meanwhile, close them, or be another user's."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(directory)
    for name in names:
        with suppress(OSError):
            yield os.readlink(directory / name)
