"""Lets go of what Podman keeps of a command that was run in a container.

After each one that came over the API, two processes (conmon) wait for five minutes, lest somebody
asks for the exit code later (`exit_command_delay`, containers.conf(5)), and removing a pod waits
for them. With a probe every ten seconds that would be sixty of them. A signal ends the wait: the
one that sleeps then does at once what it would have done later, and Podman forgets the session.

Where the processes cannot be seen or signalled, they end by themselves as before.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PAUSES = (0.0, 0.02, 0.05, 0.1, 0.2)  # s: it begins to wait a moment after the command's end


def processes() -> frozenset[str]:
    """Their ids, of all that there are now. Cheap; to be taken before a command begins."""
    return frozenset(filter(str.isdigit, os.listdir(_PROC)))


async def release(session: str, before: frozenset[str]) -> None:
    """`session`: the id of a command that has ended; only processes that are younger than it are
    looked at, for this is done with every probe. Takes 0.4 s at most.
    """
    for pause in _PAUSES:
        await asyncio.sleep(pause)
        if _wake(session, processes() - before):
            return


def _wake(session: str, among: frozenset[str]) -> bool:
    """Whether the one that sleeps was found."""
    waiting = {pid for pid in among if _is(pid, session)}
    for pid in waiting:
        with suppress(OSError, IndexError):
            stat = (_PROC / pid / "stat").read_text()
            if stat.rpartition(")")[2].split()[1] in waiting:  # its parent is the other one
                os.kill(int(pid), signal.SIGTERM)
                return True
    return False


def _is(pid: str, session: str) -> bool:
    try:
        words = (_PROC / pid / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"conmon") and session.encode() in words
