"""`piccolo history` and `piccolo rollback`: the generations of a spec, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piccolo.cli.options import (
    ContextOption,
    DryRunOption,
    MasterOption,
    Output,
    OutputOption,
    TimeoutOption,
    WaitOption,
    WaitTimeOption,
    WorkloadArgument,
    seconds_of,
)
from piccolo.core.errors import NotFound

if TYPE_CHECKING:
    from piccolo.cli import client
    from piccolo.cli.output import Column
    from piccolo.cli.workloads.changing import Answer
    from piccolo.rpc import wire

history_app = typer.Typer(
    no_args_is_help=True,
    help="Show what was asked for over time.",
    epilog="Example:  piccolo history workload web",
)
rollback_app = typer.Typer(
    no_args_is_help=True,
    help="Go back to an earlier spec.",
    epilog="Example:  piccolo rollback workload web --to 3",
)


@history_app.command("workloads", hidden=True)
@history_app.command("workload")
def workload_history(
    name: WorkloadArgument,
    generation: Annotated[
        int | None,
        typer.Option(
            "--generation", metavar="N", min=1, help="Only this one, with all of its spec."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List the generations of a workload's spec, oldest first: when, by whom, what changed.

    Examples:

    \b
      piccolo history workload web
      piccolo history workload web --generation 3 -o yaml
    """
    from piccolo.cli import client
    from piccolo.cli.output import print_list
    from piccolo.rpc import wire

    request = wire.GetHistoryRequest(name=name)
    reply = client.call(master, timeout, lambda stub: stub.get_history(request), context=context)
    found = reply.generations
    current = found[-1].number if found else 0
    if generation is not None:
        _show(_pick(found, name, generation), current, output)
        return
    print_list(
        found,
        _columns(current),
        lambda g: _dict(g, current),
        lambda g: str(g.number),
        output,
        none=f"no generations of {name} are kept",
    )


def _pick(found: Sequence[wire.Generation], name: str, number: int) -> wire.Generation:
    for generation in found:
        if generation.number == number:
            return generation
    kept = ", ".join(str(g.number) for g in found) or "none"
    raise NotFound(f"generation {number} of workload {name} is not kept; there are: {kept}")


def _show(g: wire.Generation, current: int, output: Output) -> None:
    """For people the spec is YAML too."""
    from piccolo.cli.output import age, clean, dump
    from piccolo.cli.show.spec import spec_dict, spec_of
    from piccolo.cli.workloads.change_rows import field_text

    spec = spec_dict(spec_of(g.spec))
    if output in (Output.JSON, Output.YAML):
        dump(_dict(g, current) | {"spec": spec}, output)
    elif output is Output.NAME:
        print(g.number)
    else:
        mark = ", the current one" if g.number == current else ""
        by = f" by {clean(g.by)}" if g.by else ""
        print(f"generation {g.number}{mark}: {clean(g.cause)}{by}, {age(g.at)} ago")
        for field in g.fields:
            print(f"  {field_text(field)}")
        print()
        dump(spec, Output.YAML)


def _columns(current: int) -> list[Column[wire.Generation]]:
    from piccolo.cli.output import Column, age
    from piccolo.cli.show.rows import local_text
    from piccolo.cli.show.workload_rows import SHORT

    return [
        Column("GENERATION", lambda g: f"{g.number}{' *' if g.number == current else ''}"),
        Column("AGE", lambda g: age(g.at)),
        Column("TIME", lambda g: local_text(g.at), wide=True),
        Column("BY", lambda g: g.by),
        Column("CAUSE", lambda g: g.cause),
        Column("CHANGED", lambda g: ", ".join(f.path for f in g.fields), most=SHORT),
    ]


def _dict(g: wire.Generation, current: int) -> dict[str, Any]:
    from piccolo.cli.show.rows import time_text
    from piccolo.cli.workloads.change_rows import field_dict

    return {
        "generation": g.number,
        "current": g.number == current,
        "at": time_text(g.at),
        "by": g.by,
        "cause": g.cause,
        "fields": [field_dict(f) for f in g.fields],
    }


@rollback_app.command("workloads", hidden=True)
@rollback_app.command("workload")
def rollback_workload(
    name: WorkloadArgument,
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            metavar="N",
            min=1,
            help="A generation that `piccolo history workload` lists; without it, the one before "
            "the current.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    timeout: WaitTimeOption = "5m",
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
) -> None:
    """Ask for an earlier spec of a workload again. It becomes a new generation.

    Example:  piccolo rollback workload web --to 3 --dry-run
    """
    from piccolo.cli.workloads.changing import How, carry_out

    patience = seconds_of("--timeout", timeout)
    how = How(output, context, master, patience, wait, dry_run, diff=True)
    carry_out(lambda stub: _roll_back(stub, name, to or 0, dry_run), how)


async def _roll_back(stub: client.Stub, name: str, to: int, dry_run: bool) -> Answer:
    from piccolo.cli.workloads.changing import Answer
    from piccolo.rpc import wire

    request = wire.RollBackWorkloadRequest(name=name, to=to, dry_run=dry_run)
    reply = await stub.roll_back_workload(request)
    changes = [reply.change] if reply.change is not None else []
    return Answer(changes, reply.plan, revision=reply.revision)
