"""Where the passphrase of a backup comes from: a file, the environment, or the terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from piccolo.core.errors import InvalidSpec

VARIABLE = "PICCOLO_PASSPHRASE"
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Its first line is the passphrase. Else ${VARIABLE}, else you are asked for it.",
    ),
]


def passphrase(file: Path | None, *, twice: bool) -> str:
    """`twice`: it is a new one, and a slip of the finger would make the backup worthless.

    Raises `InvalidSpec`, which never shows it.
    """
    if file is not None:
        return _first_line(file)
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


def _first_line(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSpec(f"--passphrase-file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSpec(f"--passphrase-file {file}: this is no text") from None
    return text.partition("\n")[0].removesuffix("\r")
