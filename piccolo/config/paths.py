"""Where things lie: the default data directories, and paths that a configuration names."""

from __future__ import annotations

import os
from collections.abc import Mapping

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import show

DATA_DIR = "/var/lib/piccolo"  # LLD 3.2.2
_LONGEST_SOCKET_PATH = 107  # unix(7): sun_path has 108 bytes with the final NUL


def default_data_dir(role: str, environ: Mapping[str, str], *, root: bool) -> str:
    """`role` is "agent" or "master". Raises `InvalidSpec`.

    The agent's is where it was in LLD 3.2.2; both may run on one machine, so the master's is a
    directory of its own in it. For other users than root: XDG Base Directory Specification,
    `$XDG_DATA_HOME`.
    """
    below = "/master" if role == "master" else ""
    if root:
        return DATA_DIR + below
    base = environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):  # the specification: a relative one is to be ignored
        home = environ.get("HOME", "")
        if not os.path.isabs(home):
            raise InvalidSpec("there is no home directory to keep data in: give --data-dir")
        base = f"{home}/.local/share"
    return os.path.normpath(f"{base}/piccolo{below}")


def check_path(value: object) -> str:
    """An absolute path, normalised. Raises `InvalidSpec`."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise InvalidSpec(f"{show(text)} is not a path")
    if "\0" in text or not os.path.isabs(text):
        raise InvalidSpec(f'{show(text)} is not an absolute path: it must begin with "/"')
    return "/" + os.path.normpath(text).lstrip("/")  # POSIX lets normpath keep two slashes


def local_path(value: object) -> str:
    """A path from the command line: a relative one is meant from the working directory."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    return check_path(os.path.abspath(text) if isinstance(text, str) and text else text)


def check_socket_path(value: object) -> str:
    """The path of a Unix socket; `unix:///path`, as Podman writes it, is the same as `/path`."""
    if isinstance(value, str):
        value = value.removeprefix("unix://").removeprefix("unix:")
        if "://" in value:
            raise InvalidSpec(
                f"{show(value)} does not lead to a socket on this machine: write a path or"
                ' "unix:///path"'
            )
    path = check_path(value)
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise InvalidSpec(
            f"{show(path)} is too long for a socket: at most {_LONGEST_SOCKET_PATH} bytes"
        )
    return path
