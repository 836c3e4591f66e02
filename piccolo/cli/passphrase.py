"""Where the passphrase of a backup comes from: a file, the environment, or the terminal."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from piccolo.core.errors import InvalidSpec

VARIABLE = "PICCOLO_PASSPHRASE"
STDIN = "-"
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE|-",
        help="Its first line is the passphrase; -: from stdin. Else "
        f"${VARIABLE}, else you are asked for it.",
    ),
]


def passphrase(file: Path | None, *, twice: bool) -> str:
    """`twice`: it is a new one, and a slip of the finger would make the backup worthless.

    Raises `InvalidSpec`, which never shows it.
    """
    if file is not None:
        return _first_line(sys.stdin.fileno() if str(file) == STDIN else file, file)
    if given := os.environ.get(VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise InvalidSpec(
            "a backup is encrypted with a passphrase, and there is no terminal to ask for it: give"
            f" --passphrase-file FILE, or set ${VARIABLE}"
        )
    from getpass import getpass

    try:
        given = getpass("passphrase: ")
        if twice and getpass("again: ") != given:
            raise InvalidSpec("these were two different passphrases: try again")
    except EOFError:
        raise InvalidSpec("no passphrase was given") from None
    return given


def _first_line(file: Path | int, name: Path) -> str:
    try:
        with open(file, encoding="utf-8", closefd=file == name) as opened:
            _warn_if_shared(os.fstat(opened.fileno()), name)
            text = opened.readline()
    except OSError as error:
        raise InvalidSpec(f"--passphrase-file {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSpec(f"--passphrase-file {name}: this is no text") from None
    return text.removesuffix("\n").removesuffix("\r")


def _warn_if_shared(found: os.stat_result, name: Path) -> None:
    """No more than that: what hands out secrets to services often lets a group read them."""
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISREG(found.st_mode) and mode & 0o077 and str(name) != STDIN:
        from piccolo.cli.output import note

        note(f"others than its owner can read {name} (mode {mode:04o}): chmod go= {name}")
