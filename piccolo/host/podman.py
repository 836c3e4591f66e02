"""Whether Podman is there, and whether somebody listens at its socket.

The kernel tells who listens (/proc/net/unix). Nobody connects: that would start a Podman under
systemd, which a check has no business to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from piccolo.core.readiness.facts import Podman
from piccolo.host.bounded import run_program, text

_LISTENS = 0x10000  # __SO_ACCEPTCON, in include/linux/net.h


def podman(root: Path, sockets: Sequence[str], seconds: float) -> Podman:
    program = shutil.which("podman")
    listening = _listening(text(root / "proc/net/unix"))
    usable = (path for path in sockets if path in listening and _may_use(root, path))
    return Podman(
        installed=program is not None,
        version=_version(program, seconds) if program is not None else "",
        socket=next(usable, None),
    )


def _version(program: str, seconds: float) -> str:
    """ "podman version 4.3.1"; one that cannot be run will be missed by whoever needs it."""
    done = run_program(program, "--version", seconds=seconds)
    words = done[1].split() if done is not None and done[0] == 0 else []
    return words[2] if len(words) > 2 else ""


def _listening(table: str) -> set[str]:
    """Columns: Num RefCount Protocol Flags Type St Inode Path."""
    rows = (line.split(None, 7) for line in table.splitlines()[1:])
    paths = {r[7].rstrip() for r in rows if len(r) == 8 and int(r[3], 16) & _LISTENS}
    # /var/run is /run, and some units still say the former.
    return {path.removeprefix("/var") if path.startswith("/var/run/") else path for path in paths}


def _may_use(root: Path, path: str) -> bool:
    return os.geteuid() == 0 or os.access(root / path.lstrip("/"), os.R_OK | os.W_OK)
