"""Whether the kernel killed a container for its use of memory, from the kernel's log (kmsg).

Podman knows it from conmon, which not every kernel tells with control groups v1. The record names
the control group, and that the container; it may be of an earlier run, so its time counts. Without
permission to read the log, or when the record is gone from it already, the answer is no.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

_KMSG = "/dev/kmsg"
_RECORD = 8192  # bytes at most
_SLACK = timedelta(seconds=1)  # between the clocks of the log and of Podman


def killed(id: str, since: datetime, path: str = _KMSG) -> bool:
    """Whether it was killed after `since`, when it was started. Takes some milliseconds."""
    booted = datetime.now(UTC) - timedelta(seconds=time.monotonic())
    with suppress(OSError, ValueError, OverflowError):
        for record in _records(path):
            if b"oom_memcg=" not in record or id.encode() not in record:
                continue
            _, _, microseconds, *_ = record.split(b",", 3)  # priority, number, since boot
            if booted + timedelta(microseconds=int(microseconds)) > since - _SLACK:
                return True
    return False


def _records(path: str) -> Iterator[bytes]:
    """All that the log holds (Documentation/ABI/testing/dev-kmsg)."""
    log = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                record = os.read(log, _RECORD)
            except BrokenPipeError:  # the oldest was overwritten just now
                continue
            except BlockingIOError:
                return
            if not record:
                return
            yield record
    finally:
        os.close(log)
