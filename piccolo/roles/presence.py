"""How a role fares, for others on its machine: the service manager, and `piccolo is-online`.

The file ROLE.json in the service's own directory below /run tells it to everybody on the machine
without asking anybody's leave. It is in memory, written when something changes, and gone after the
end; what a program that was killed left behind is seen to be dead.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from piccolo.roles.service_manager import ServiceManager

log = logging.getLogger(__name__)

ROLES = ("agent", "master")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one role on this machine."""

    role: str
    online: bool
    message: str
    since: str  # UTC: since when it is `online`, or is not
    pid: int
    started: str  # of that process, in the kernel's ticks: ids are used again


class Presence:
    def __init__(
        self, role: str, manager: ServiceManager, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Only a service has such a directory (systemd.exec(5): RUNTIME_DIRECTORY)."""
        directory = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._path = Path(directory, f"{role}.json") if os.path.isabs(directory) else None
        self._manager = manager
        self._seen = Seen(role, False, "", "", os.getpid(), _started(os.getpid()))

    def tell(self, online: bool, message: str) -> None:
        seen = self._seen
        if (seen.online, seen.message) == (online, message):
            return
        news = online is not seen.online or not seen.since
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if news else seen.since
        self._seen = Seen(seen.role, online, message, since, seen.pid, seen.started)
        self._manager.status(message if online else f"{message} (since {since})")
        if self._path is not None:
            try:
                _write(self._path, json.dumps(asdict(self._seen)))
            except OSError as error:
                log.warning("`piccolo is-online` will not know: %s", error)
                self._path = None

    def close(self) -> None:
        """The end: nothing is told any more."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
            self._path = None


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text + "\n", encoding="utf-8")
    fresh.chmod(0o644)  # whatever our umask
    fresh.replace(path)


# ---- for those who ask ----


def directories(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Of the services of the system, and of this user."""
    own = environ.get("XDG_RUNTIME_DIR", "")
    return [Path("/run/piccolo"), *([Path(own, "piccolo")] if os.path.isabs(own) else [])]


def look(directories: Sequence[Path]) -> Iterator[Seen]:
    """The roles that run on this machine now, as services, or were killed."""
    for directory in directories:
        for role in ROLES:
            try:
                text = (directory / f"{role}.json").read_text(encoding="utf-8")
                seen = Seen(**json.loads(text))
                alive = _started(seen.pid) == seen.started
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError, RecursionError) as error:
                yield Seen(role, False, f"cannot be read: {error}", "", 0, "")
                continue
            gone = "it was killed, or has crashed"
            yield seen if alive else Seen(role, False, gone, "", seen.pid, seen.started)


def _started(pid: int) -> str:
    """When the process was started, by proc_pid_stat(5); empty: it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    words = stat.rpartition(")")[2].split()
    return "" if words[0] in "ZX" else words[19]
