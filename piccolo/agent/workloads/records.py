"""What an instance's runner keeps on disk: which of its containers must not be started again.

Only workloads that are to end have such a record (`core.pods.restarts.Record`).
"""

from __future__ import annotations

import logging
from pathlib import Path

from piccolo.core import plain
from piccolo.core.errors import InvalidSpec
from piccolo.core.pods.restarts import Record
from piccolo.security.files import read_private, write_private

log = logging.getLogger(__name__)

_NAME = "record.json"


def load(directory: Path) -> Record:
    """An empty one where there is none. Raises `Unavailable` when the disk cannot be read."""
    try:
        text = read_private(directory / _NAME)
        return plain.decode(Record, text.encode(), "the record") if text is not None else Record()
    except InvalidSpec as error:
        log.error("%s: %s; it counts as empty", directory / _NAME, error)
        return Record()


def save(directory: Path, record: Record) -> None:
    """Durable when it returns. Raises `Unavailable`; then the old one is as it was."""
    write_private(directory / _NAME, plain.encode(record).decode())


def remove(directory: Path) -> None:
    (directory / _NAME).unlink(missing_ok=True)
