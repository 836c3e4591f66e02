"""Files that people write, from a path to bytes or text. No YAML here: not everybody needs it.

A file is read whole, but never more than `MAX_BYTES` of it; only regular files are read, so that
a pipe or device cannot hold the program up.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import printable

MAX_BYTES = 1 << 20  # of one text; a node.yaml of 1,000 nodes has about 150 kB


def read_text(path: Path) -> str:
    """The text of a file. Raises `InvalidSpec` for what is no UTF-8 text file of bounded size."""
    return to_text(read_bytes(path), source_name(path))


def to_text(data: bytes, source: str) -> str:
    """`data` as text; `source` names it. Raises `InvalidSpec` for what is no UTF-8 text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidSpec(f"{source}: this is UTF-16: save the file as UTF-8")
    if (nul := data.find(b"\0")) >= 0:
        raise InvalidSpec(f"{_place(source, data, nul)}: a NUL byte: this is not a text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSpec(
            f"{_place(source, data, error.start)}: byte 0x{data[error.start]:02x} is not UTF-8:"
            " save the file as UTF-8"
        ) from None


def source_name(path: Path) -> str:
    """How messages name a file."""
    return printable(str(path))


def read_bytes(path: Path) -> bytes:
    """What is in a file. Raises `InvalidSpec` for what is no regular file of bounded size."""
    source = source_name(path)
    try:
        # Non-blocking: opening a pipe must not wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                raise InvalidSpec(f"{source}: this is a directory: name a file")
            if not stat.S_ISREG(status.st_mode):
                raise InvalidSpec(f"{source}: this is not a regular file")
            if status.st_size > MAX_BYTES:
                raise InvalidSpec(
                    f"{source}: the file has {status.st_size / 1e6:.1f} MB; at most"
                    f" {MAX_BYTES >> 20} MiB are read"
                )
            with open(fd, "rb", closefd=False) as file:
                data = file.read(MAX_BYTES + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise InvalidSpec(f"{source}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the path itself
        raise InvalidSpec(f"{source}: is not a path: {error}") from None
    if len(data) > MAX_BYTES:  # it grew, or is one of those that say they have no size
        raise InvalidSpec(f"{source}: the file has more than {MAX_BYTES >> 20} MiB")
    return data


def _place(source: str, data: bytes, offset: int) -> str:
    line = data.count(b"\n", 0, offset) + 1
    column = offset - data.rfind(b"\n", 0, offset)
    return f"{source}:{line}:{column}"
