"""`piccolo` without the time that its imports take, for tests that call it hundreds of times.

A server, one per process of tests, has imported what the commands need, and forks for each call: a
process of its own with its own files, environment and exit code, as the installed program would
be. What a start itself does, the tests of the start and the end-to-end tests see.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, recv_fds, send_fds, socket, socketpair

PICCOLO = Path(sys.executable).with_name("piccolo")
LONGEST = 30  # s for one call; then it is killed
_LARGEST = 100_000  # bytes of arguments and environment
_one_at_a_time = threading.Lock()


def run(*args: str, env: Mapping[str, str], stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of the program with these arguments, capturing texts."""
    call = {"args": args, "env": dict(env), "cwd": os.getcwd()}
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        _one_at_a_time,
    ):
        given.write(stdin)
        given.seek(0)
        files = [given.fileno(), out.fileno(), err.fileno()]
        send_fds(_server(), [json.dumps(call).encode()], files)
        code = int(_server().recv(20))
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([PICCOLO, *args], code, out.read(), err.read())


@functools.cache
def _server() -> socket:
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    with theirs:
        # Not by -m: the program's own name would be taken for that of the module.
        serve = f"from {__name__} import serve; serve({theirs.fileno()})"
        server = subprocess.Popen([sys.executable, "-c", serve], pass_fds=[theirs.fileno()])

    def stop() -> None:
        ours.close()  # which ends it
        server.wait(LONGEST)

    atexit.register(stop)
    ours.settimeout(LONGEST + 10)
    return ours


def _import_commands() -> None:
    for package in ("piccolo.cli", "piccolo.config.manifests", "piccolo.security"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")
    for name in ("piccolo.rpc.wire", "piccolo.rpc.client", "yaml", "asyncio.unix_events"):
        importlib.import_module(name)


def serve(file: int) -> None:
    tests = socket(fileno=file)
    _import_commands()
    gc.freeze()
    while True:
        asked, files, _, _ = recv_fds(tests, _LARGEST, 3)
        if not asked:
            return
        child = os.fork()
        if child == 0:
            tests.close()
            _become(json.loads(asked), files)
        for file in files:
            os.close(file)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tests.send(str(code).encode())


def _become(call: dict[str, object], files: list[int]) -> None:
    from piccolo.cli.main import main

    signal.alarm(LONGEST)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
    os.chdir(str(call["cwd"]))
    os.environ.clear()
    os.environ.update(call["env"])  # type: ignore[call-overload]
    time.tzset()
    sys.argv = [str(PICCOLO), *call["args"]]  # type: ignore[misc]
    main()
