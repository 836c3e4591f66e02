"""`piccolo delete`: workloads that the cluster is to run no longer, by name or by document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli.options import (
    ContextOption,
    DryRunOption,
    MasterOption,
    Output,
    OutputOption,
    WaitOption,
    WaitTimeOption,
    WorkloadsArgument,
    seconds_of,
)
from piccolo.core.errors import InvalidSpec

if TYPE_CHECKING:
    from piccolo.cli import client
    from piccolo.cli.workloads.changing import Answer
    from piccolo.rpc import wire

app = typer.Typer(
    invoke_without_command=True,
    help="Delete workloads: by name (`piccolo delete workload NAME…`), or those that documents "
    "declare (`piccolo delete -f FILE`). Volumes stay.",
    epilog="Examples:  piccolo delete workload web   ·   piccolo delete -f app.yaml --dry-run",
)

_NONE = "nothing to delete"

CascadeOption = Annotated[
    bool, typer.Option("--cascade", help="Also what depends on them; else they are refused.")
]
IgnoreOption = Annotated[
    bool, typer.Option("--ignore-missing", help="Workloads that are not there are no error.")
]


@app.callback()
def delete(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE|DIR|-",
            help="What these documents declare. May be given several times.",
        ),
    ] = None,
    cascade: CascadeOption = False,
    dry_run: DryRunOption = False,
    ignore_missing: IgnoreOption = False,
    wait: WaitOption = True,
    timeout: WaitTimeOption = "5m",
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
) -> None:
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return
    if not files:
        raise InvalidSpec(
            "delete what? Name workloads (piccolo delete workload NAME…), or documents that declare"
            " them (piccolo delete -f FILE)"
        )
    from piccolo.cli.workloads.apply import read_sources
    from piccolo.cli.workloads.changing import How, carry_out
    from piccolo.rpc import wire

    request = wire.DeleteWorkloadsRequest(
        sources=read_sources(files),
        cascade=cascade,
        dry_run=dry_run,
        ignore_missing=ignore_missing,
    )
    patience = seconds_of("--timeout", timeout)
    how = How(output, context, master, patience, wait, dry_run, none=_NONE)
    carry_out(lambda stub: _delete(stub, request), how)


def _refuse_options(ctx: typer.Context) -> None:
    """What stands before `workload` would not reach it."""
    for name in ctx.params:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            if name == "files":
                raise InvalidSpec("name workloads, or give documents with -f: not both")
            option = name.replace("_", "-")
            raise InvalidSpec(
                f"--{option} goes behind the verb: piccolo delete workload NAME --{option} …"
            )


@app.command("workloads", hidden=True)
@app.command("workload")
def delete_workload(
    names: WorkloadsArgument,
    cascade: CascadeOption = False,
    dry_run: DryRunOption = False,
    ignore_missing: IgnoreOption = False,
    wait: WaitOption = True,
    timeout: WaitTimeOption = "5m",
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
) -> None:
    """Stop workloads everywhere, and forget them and their history. Their volumes stay.

    What others depend on is refused, unless --cascade takes those along, the dependents first.
    A node that is away learns of it when it returns.

    Example:  piccolo delete workload db --cascade --dry-run
    """
    from piccolo.cli.workloads.changing import How, carry_out
    from piccolo.rpc import wire

    request = wire.DeleteWorkloadsRequest(
        names=names, cascade=cascade, dry_run=dry_run, ignore_missing=ignore_missing
    )
    patience = seconds_of("--timeout", timeout)
    how = How(output, context, master, patience, wait, dry_run, none=_NONE)
    carry_out(lambda stub: _delete(stub, request), how)


async def _delete(stub: client.Stub, request: wire.DeleteWorkloadsRequest) -> Answer:
    from piccolo.cli.workloads.changing import Answer
    from piccolo.rpc import wire

    reply = await stub.delete_workloads(request)
    notices = [wire.DocumentFinding(message=text) for text in reply.notices]
    return Answer(reply.changes, reply.plan, reply.problems, notices, reply.revision)
