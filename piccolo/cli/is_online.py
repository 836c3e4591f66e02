"""`piccolo is-online`: an exit code that says whether something is in service, for other units."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli import exit_codes
from piccolo.cli.options import (
    ContextOption,
    MasterOption,
    Output,
    OutputOption,
    WaitTimeOption,
    seconds_of,
)
from piccolo.core.errors import InvalidSpec

if TYPE_CHECKING:
    from piccolo.cli.probes import Probe, Verdict

_EVERY = 0.5  # s between two looks
_ANSWER = 10.0  # s


def is_online(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[node NAME | cluster]", help="Without: what runs on this machine."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it is online; exit code 7: it took too long.")
    ] = False,
    monitor: Annotated[
        bool,
        typer.Option("--monitor", help="Stay as long as it is online, and end when it is not."),
    ] = False,
    timeout: WaitTimeOption = "5m",
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
) -> None:
    """Whether a node, the cluster, or this machine is online: exit code 0 if it is, else 1.

    Example:  ExecStartPre=/usr/local/bin/piccolo is-online --wait --timeout 1h

    This machine is online when its agent has a session with the master, and its master serves,
    whichever of them runs here as a service; that asks nobody, and needs no context. A node is
    online when it is Ready; the cluster, when its master answers and its nodes in service are.
    """
    probe = _probe(words or [], context, master)
    try:
        code = _follow(
            probe, seconds_of("--timeout", timeout), wait=wait, monitor=monitor, output=output
        )
    finally:
        probe.close()
    raise typer.Exit(code)


def _probe(words: list[str], context: str, master: list[str] | None) -> Probe:
    from piccolo.cli import probes

    match words:
        case []:
            return probes.ThisMachine()
        case ["node", name]:
            return probes.remote_node(name, context, master)
        case ["cluster"]:
            return probes.remote_cluster(context, master)
    raise InvalidSpec(
        f"is-online {' '.join(words)}: write `is-online node NAME`, `is-online cluster`, or"
        " `is-online` for this machine"
    )


def _follow(probe: Probe, patience: float, *, wait: bool, monitor: bool, output: Output) -> int:
    end = time.monotonic() + patience
    verdict = probe.look(min(_ANSWER, patience))
    while wait and not verdict.online and (left := end - time.monotonic()) > 0:
        time.sleep(min(_EVERY, left))
        verdict = probe.look(min(_ANSWER, max(_EVERY, left)))
    _show(verdict, output, one_line=monitor)
    if not verdict.online:
        return exit_codes.TIMED_OUT if wait else exit_codes.FAILED
    if not monitor:
        return exit_codes.OK
    while True:
        time.sleep(_EVERY)
        verdict = probe.look(_ANSWER)
        if not verdict.online:
            _show(verdict, output, one_line=True)
            return exit_codes.FAILED


def _show(verdict: Verdict, output: Output, *, one_line: bool) -> None:
    from piccolo.cli.output import clean, to_text

    word = "online" if verdict.online else "not online"
    if output in (Output.JSON, Output.YAML):
        fields = {"what": verdict.what, "online": verdict.online, "message": verdict.message}
        text = to_text(fields, output, one_line=one_line)
    elif output is Output.NAME:
        text = word
    else:
        text = f"{verdict.what} is {word}: {clean(verdict.message)}"
    print(text, flush=True)
