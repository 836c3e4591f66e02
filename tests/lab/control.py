"""From another terminal to a running lab: a unix socket in its directory.

Only its owner can enter that directory, and one request is carried out after the other. A request
is a line of JSON with the words that were typed; the answer is one with what to print.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import socketserver
from collections.abc import Sequence
from pathlib import Path

from tests.lab import reaper
from tests.lab.cluster import Lab
from tests.lab.errors import LabError
from tests.lab.verbs import perform

SOCKET = "control.sock"
READ_SECONDS = 5.0
SECONDS = 120.0  # a verb that restarts something takes its time
_PING = "ping"


def serve(lab: Lab) -> None:
    """Carry out what is asked of this lab, in this thread, until Ctrl-C or SIGTERM."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = READ_SECONDS

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # who asked is gone
                self.wfile.write(_answer(lab, self.rfile.readline()))

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with socketserver.UnixStreamServer(str(lab.site.dir / SOCKET), Handler) as server:
            server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _answer(lab: Lab, line: bytes) -> bytes:
    try:
        words = json.loads(line)
        text, well = (_about(lab) if words == [_PING] else perform(lab, words)), True
    except Exception as error:  # the lab goes on, whatever was asked of it
        text, well = str(error) if isinstance(error, LabError) else repr(error), False
    return json.dumps([well, text]).encode() + b"\n"


def _about(lab: Lab) -> str:
    broken = len(lab.faults.active)
    return f"master and {', '.join(lab.nodes)}; store {lab.store}; {broken} parts broken"


def running() -> dict[str, Path]:
    """The labs of this user that listen, by their ids."""
    found = {}
    for directory in filter(Path.is_dir, reaper.base_dir().iterdir()):
        if (directory / SOCKET).exists():
            found[directory.name] = directory / SOCKET
    return dict(sorted(found.items()))


def find(lab_id: str | None) -> Path:
    """The socket of a lab; without an id, of the only one. Raises `LabError`."""
    labs = running()
    if lab_id is not None:
        if lab_id not in labs:
            raise LabError(f"no lab {lab_id} runs here: ./dev lab list")
        return labs[lab_id]
    if not labs:
        raise LabError("no lab runs here: start one in another terminal with ./dev lab")
    if len(labs) > 1:
        raise LabError(f"several labs run here: choose one with --lab: {', '.join(labs)}")
    return next(iter(labs.values()))


def ask(path: Path, words: Sequence[str]) -> str:
    """What the lab says to it. Raises `LabError` with its words when it could not do it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(list(words)).encode() + b"\n")
            with connection.makefile("rb") as answer:
                line = answer.readline()
        except OSError as error:
            raise LabError(f"the lab {path.parent.name} does not answer: {error}") from error
    if not line:
        raise LabError(f"the lab {path.parent.name} ended before it answered")
    well, text = json.loads(line)
    if not well:
        raise LabError(text)
    return str(text)


def about(path: Path) -> str:
    """A line about a lab."""
    return ask(path, [_PING])
