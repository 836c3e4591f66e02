"""One holder per directory: flock(2) on a file in it.

The kernel lets go of the lock when its holder dies, however it dies. The number in the file is
for people only.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from piccolo.core.errors import Conflict


class DirectoryLock:
    """Raises `Conflict` when another process, or this one, holds the directory already."""

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            pid = os.pread(self._file, 20, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise Conflict(
                f"the store in {directory} is in use by process {pid or '(unknown)'}: "
                f"stop that master first"
            ) from None
        except BaseException:
            os.close(self._file)
            raise

    def release(self) -> None:
        # The file stays: removing it could take a lock away from who opened it meanwhile.
        os.close(self._file)
