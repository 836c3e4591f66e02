"""`piccolo restart`: fresh containers of the same spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from piccolo.cli.options import (
    ContextOption,
    MasterOption,
    Output,
    OutputOption,
    WaitOption,
    WaitTimeOption,
    WorkloadsArgument,
    seconds_of,
)

if TYPE_CHECKING:
    from piccolo.cli import client
    from piccolo.cli.workloads.changing import Answer

app = typer.Typer(
    no_args_is_help=True,
    help="Replace the containers of workloads by fresh ones.",
    epilog="Example:  piccolo restart workload web",
)


@app.command("workloads", hidden=True)
@app.command("workload")
def restart_workload(
    names: WorkloadsArgument,
    wait: WaitOption = True,
    timeout: WaitTimeOption = "5m",
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
) -> None:
    """Replace the containers of workloads by fresh ones, as their update strategy says.

    Example:  piccolo restart workload web --timeout 2m
    """
    from piccolo.cli.workloads.changing import How, carry_out

    how = How(output, context, master, seconds_of("--timeout", timeout), wait)
    carry_out(lambda stub: _restart(stub, names), how)


async def _restart(stub: client.Stub, names: list[str]) -> Answer:
    from piccolo.cli.workloads.changing import Answer
    from piccolo.rpc import wire

    reply = await stub.restart_workloads(wire.RestartWorkloadsRequest(names=names))
    return Answer(reply.changes, revision=reply.revision)
