"""What goes on inside a container of Podman: commands that are run in it, and what it wrote.

A command that takes too long is killed, as far as that is possible: a probe that hangs would
leave another process in the container each time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.runtime.base import ExecResult, Lines
from piccolo.runtime.http import TIMEOUT, HttpClient
from piccolo.runtime.podman import conmon, libpod, libpod_answers
from piccolo.runtime.podman.multiplex import Frames, LastLines, shown
from piccolo.runtime.podman.refusals import refused

OUTPUT_BYTES = 4096  # of a command, its last
_ABANDON = 1.0  # s, to find and kill a command that takes too long


async def exec(
    http: HttpClient, api: str, id: str, command: tuple[str, ...], timeout: float
) -> ExecResult:
    """See `Runtime.exec`."""
    made = session = ""
    before = conmon.processes()
    try:
        async with asyncio.timeout(timeout):
            asked = {"AttachStdout": True, "AttachStderr": True, "Cmd": [*command]}
            body = json.dumps(asked).encode()
            answer = await http.request("POST", f"{api}/containers/{id}/exec", body=body)
            if answer.status != 201:
                what = f"no command can be run in container {id[:12]}"
                raise refused(what, libpod.complaint(answer.body))
            made = libpod_answers.made(answer.body)
            session = f"{api}/exec/{made}"
            output = await _output(http, f"{session}/start", id)
            answer = await http.request("GET", f"{session}/json")
            if answer.status != 200:
                what = f"a command in container {id[:12]}"
                raise refused(what, libpod.complaint(answer.body))
            result = ExecResult(libpod_answers.command(answer.body).exit_code, shown(output))
    except TimeoutError:
        with suppress(PiccoloError, TimeoutError):
            async with asyncio.timeout(_ABANDON):
                if session:
                    await _kill(http, session, id)
                    await conmon.release(made, before)
        raise
    await conmon.release(made, before)
    return result


async def tail(http: HttpClient, api: str, id: str, lines: int) -> Lines:
    """See `Runtime.tail`."""
    answer = await http.request("GET", f"{api}/containers/{id}/json")
    if libpod.is_gone(answer.status, answer.body):
        return []
    if answer.status != 200:
        raise refused(f"container {id[:12]}", libpod.complaint(answer.body))
    query = {"stdout": "true", "stderr": "true", "tail": str(lines)}
    if (began := _began(libpod_answers.spec_path(answer.body))) is not None:
        query["since"] = f"{began:.6f}"  # one log has all runs of the container
    frames, last = Frames(), LastLines(lines)
    async with http.stream(f"{api}/containers/{id}/logs", query) as stream:
        if stream.status != 200:
            body = await stream.rest()
            if libpod.is_gone(stream.status, body):
                return []
            raise refused(f"the log of container {id[:12]}", libpod.complaint(body))
        try:
            async with asyncio.timeout(TIMEOUT):
                while piece := await stream.piece():
                    last.feed(frames.feed(piece))
        except TimeoutError as error:
            raise Unavailable(
                f"Podman did not end the log of container {id[:12]} within {TIMEOUT:g} s:"
                " it hangs or is overloaded; if that lasts, restart it"
            ) from error
    return last.take()


def _began(spec: str) -> float | None:
    """When the last run began, in seconds since 1970; None: nobody knows.

    Podman's own `StartedAt` comes too late: a program may have written lines and ended by then.
    """
    try:
        return Path(spec).stat().st_mtime if spec else None
    except OSError:
        return None


async def _output(http: HttpClient, path: str, id: str) -> str:
    """The last of what a command writes, once it has ended."""
    frames, kept = Frames(), b""
    body = json.dumps({"Detach": False, "Tty": False}).encode()
    async with http.stream(path, method="POST", body=body) as stream:
        if stream.status != 200:
            complaint = libpod.complaint(await stream.rest())
            raise refused(f"a command in container {id[:12]}", complaint)
        while piece := await stream.piece():
            kept = (kept + frames.feed(piece))[-OUTPUT_BYTES:]
    return kept.decode("utf-8", "replace")


async def _kill(http: HttpClient, session: str, id: str) -> None:
    answer = await http.request("GET", f"{session}/json")
    if answer.status == 200 and (pid := libpod_answers.command(answer.body).pid):
        with suppress(OSError):
            _kill_group(pid, id)


def _kill_group(pid: int, id: str) -> None:
    """Podman has no verb for it. The control group proves that it is that container's process."""
    if id in Path(f"/proc/{pid}/cgroup").read_text() and os.getpgid(pid) == pid:
        os.killpg(pid, signal.SIGKILL)
