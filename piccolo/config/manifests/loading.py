"""Where documents come from: files, directories, standard input. Bounded in number and size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from piccolo.config.document import MAX_BYTES
from piccolo.config.yaml_file import read_text, source_name, to_text
from piccolo.core.errors import InvalidSpec

MAX_FILES = 1000
MAX_TOTAL = 16 << 20  # characters of all files together
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"

_STDIN_NAME = "standard input"

Text = tuple[str, str | InvalidSpec]  # name of the source; its text, or why it cannot be read


def read_all(sources: Sequence[str], stdin: Callable[[int], bytes]) -> Iterator[Text]:
    """The texts of `sources`: paths of files and directories, or `-` for `stdin`.

    Of a directory its files with one of `SUFFIXES`, in the order of their names, not those of
    directories in it. A file that is named twice is read once. `stdin` is called with the number
    of bytes wanted at most. Raises `InvalidSpec` when there is too much of it all.
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
            text = read()
        except InvalidSpec as error:
            yield name, error
            continue
        total += len(text)
        if total > MAX_TOTAL:
            raise InvalidSpec(
                f"{name}: with it, there are more than {MAX_TOTAL >> 20} MiB: name fewer at a time"
            )
        yield name, text


def _each(
    sources: Sequence[str], stdin: Callable[[int], bytes]
) -> Iterator[tuple[str, str, Callable[[], str]]]:
    for source in sources:
        if source == STDIN:
            yield STDIN, _STDIN_NAME, partial(_read_stdin, stdin)
            continue
        for path in _files(Path(source)):
            yield _identity(path), source_name(path), partial(read_text, path)


def _identity(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # reading it says what is wrong with it
        return str(path)


def _read_stdin(stdin: Callable[[int], bytes]) -> str:
    data = stdin(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidSpec(f"{_STDIN_NAME}: more than the {MAX_BYTES >> 20} MiB allowed")
    return to_text(data, _STDIN_NAME)


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
