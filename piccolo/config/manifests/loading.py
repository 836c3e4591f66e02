"""Where documents come from: files, directories, standard input. Bounded in number and size.

Nothing here needs YAML or pydantic: a client that only sends documents starts without them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from piccolo.config.text_file import MAX_BYTES, read_bytes, source_name, to_text
from piccolo.core.errors import InvalidSpec

MAX_FILES = 1000
MAX_TOTAL = 16 << 20  # bytes of all files together
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"

_STDIN_NAME = "standard input"

Text = tuple[str, str | InvalidSpec]  # name of the source; its text, or why it cannot be read
Raw = tuple[str, bytes | InvalidSpec]
Stdin = Callable[[int], bytes]  # called with the number of bytes wanted at most


def read_all(sources: Sequence[str], stdin: Stdin) -> Iterator[Text]:
    """The texts of `sources`: see `read_raw`."""
    for name, data in read_raw(sources, stdin, MAX_TOTAL):
        if isinstance(data, InvalidSpec):
            yield name, data
            continue
        try:
            yield name, to_text(data, name)
        except InvalidSpec as error:
            yield name, error


def read_raw(sources: Sequence[str], stdin: Stdin, most: int) -> Iterator[Raw]:
    """What is in `sources`: paths of files and directories, or `-` for `stdin`.

    Of a directory its files with one of `SUFFIXES`, in the order of their names, not those of
    directories in it. A file that is named twice is read once. Raises `InvalidSpec` when it is
    more than `most` bytes, or there are too many files.
    """
    seen: set[str] = set()
    total = 0
    for identity, name, read in _each(sources, stdin):
        if identity in seen:
            continue
        seen.add(identity)
        if len(seen) > MAX_FILES:
            raise InvalidSpec(f"more than {MAX_FILES} files: name fewer at a time")
        try:
            data = read()
        except InvalidSpec as error:
            yield name, error
            continue
        total += len(data)
        if total > most:
            raise InvalidSpec(
                f"{name}: with it, there are more than {most / (1 << 20):g} MiB: name fewer at a"
                " time"
            )
        yield name, data


def _each(sources: Sequence[str], stdin: Stdin) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    for source in sources:
        if source == STDIN:
            yield STDIN, _STDIN_NAME, partial(_read_stdin, stdin)
            continue
        for path in _files(Path(source)):
            yield _identity(path), source_name(path), partial(read_bytes, path)


def _identity(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # reading it says what is wrong with it
        return str(path)


def _read_stdin(stdin: Stdin) -> bytes:
    data = stdin(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidSpec(f"{_STDIN_NAME}: more than the {MAX_BYTES >> 20} MiB allowed")
    return data


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        names = sorted(os.listdir(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidSpec(f"{source_name(path)}: cannot be read: {reason}") from None
    wanted = [path / n for n in names if n.endswith(SUFFIXES) and not n.startswith(".")]
    if not wanted:
        kinds = ", ".join(f"*{s}" for s in SUFFIXES)
        raise InvalidSpec(f"{source_name(path)}: no files {kinds} are in this directory")
    return wanted
