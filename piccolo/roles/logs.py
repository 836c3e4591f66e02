"""Logging of both roles: text for people, JSON lines for collectors, always on stderr.

The journal has the time of each line itself. It is told the level instead, which people filter by:
`<4>` before each line, since it makes an entry of each (sd-daemon(3)).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from types import TracebackType

_LEVELS = (  # the least that a record must have, and its level by syslog(3)
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)


def is_journal(descriptor: int) -> bool:
    """Whether what is written there is kept in the journal (systemd.exec(5): JOURNAL_STREAM)."""
    stream = os.environ.get("JOURNAL_STREAM")
    if not stream:
        return False
    try:
        found = os.fstat(descriptor)
    except OSError:  # it is closed
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def complaint(text: str) -> str:
    """An error as it is to be written to stderr, wherever that leads."""
    return _marked(text, logging.ERROR) if is_journal(2) else text


def _marked(text: str, levelno: int) -> str:
    level = next(to for least, to in _LEVELS if levelno >= least)
    return "\n".join(f"<{level}>{line}" for line in text.split("\n"))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _Text(logging.Formatter):
    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")


class _Journal(logging.Formatter):
    """`inner`, and the level before each of its lines."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return _marked(self._inner.format(record), record.levelno)


def configure(level: str, form: str) -> None:
    """`level`: debug | info | warning | error; `form`: text | json."""
    formatter: logging.Formatter = _Json() if form == "json" else _Text()
    if is_journal(sys.stderr.fileno()):
        formatter = _Journal(formatter if form == "json" else logging.Formatter("%(message)s"))
        sys.excepthook = _uncaught
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("hpack", "grpclib", "asyncio"):  # their debug output is not about the cluster
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """What ends the program, as one would find it: by its level."""
    logging.critical("the program ends by an error", exc_info=(kind, error, traceback))
