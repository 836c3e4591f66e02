"""Private files: nobody but their owner reads them, and each is whole, old or new, at any instant.

Standard library only: the agent uses this too.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from piccolo.core.errors import InvalidSpec, Unavailable


def private_dir(path: Path) -> Path:
    """`path`, made (0700) where it is missing.

    Raises `InvalidSpec` when others can look into it, `Unavailable` when it cannot be used.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_shared(path, path.stat())
    except OSError as error:
        raise Unavailable(f"cannot use the directory {path}: {error.strerror}") from error
    return path


def read_private(path: Path) -> str | None:
    """The text of a file; None: it is not there.

    Raises `InvalidSpec` when others can read it, `Unavailable` when it cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            _refuse_shared(path, os.fstat(file.fileno()))
            return file.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise InvalidSpec(f"{path} is damaged: it is no text; restore it from a backup") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error


def write_private(path: Path, text: str) -> None:
    """Put `text` in the place of a file (0600). Durable when it returns.

    Raises `Unavailable`; then the old file is as it was.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()  # of a former life, maybe with other rights
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_dir(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def sync_dir(path: Path) -> None:
    """Make renames and removals in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _refuse_shared(path: Path, found: os.stat_result) -> None:
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise InvalidSpec(
            f"{path} holds secrets, and others than its owner can read or change it (mode"
            f" {stat.S_IMODE(found.st_mode):04o}): find out who did that, then run"
            f" chmod go= {path}"
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise InvalidSpec(
            f"{path} holds secrets and belongs to another user (id {found.st_uid}): run as that"
            f" user, or chown it"
        )
