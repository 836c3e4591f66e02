"""`piccolo apply` and `piccolo diff`: documents → the cluster.

The documents go to the master as they are, which reads them. So nothing here needs YAML: an apply
that changes nothing is over in a moment.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli.options import (
    ContextOption,
    DryRunOption,
    FilesOption,
    MasterOption,
    Output,
    OutputOption,
    WaitOption,
    WaitTimeOption,
    seconds_of,
)

if TYPE_CHECKING:
    from piccolo.cli import client
    from piccolo.cli.workloads.changing import Answer
    from piccolo.rpc import wire

MAX_SENT = 15 << 18  # bytes: the master takes messages of 4 MiB, in which names stand too


def apply(
    files: FilesOption,
    dry_run: DryRunOption = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print each value that changes, before and after.")
    ] = False,
    wait: WaitOption = True,
    timeout: WaitTimeOption = "5m",
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
) -> None:
    """Make the cluster run what documents say; wait until it does.

    All or nothing: with a problem in one document, nothing is changed. What is as the documents
    say already is left alone; what they do not name is too.

    Examples:

    \b
      piccolo apply -f app.yaml
      piccolo apply -f deploy/ --dry-run --diff
      make-documents | piccolo apply -f - --no-wait
    """
    from piccolo.cli.workloads.changing import How, carry_out

    sources = read_sources(files)
    how = How(output, context, master, seconds_of("--timeout", timeout), wait, dry_run, diff)
    carry_out(lambda stub: _apply(stub, sources, dry_run), how)


def diff(
    files: FilesOption,
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
) -> None:
    """Show what `piccolo apply` would change; nothing is changed.

    Exit code 0: nothing would change; 1: something would; 2 and above: an error.

    Example:  piccolo diff -f deploy/ || piccolo apply -f deploy/
    """
    from piccolo.cli import exit_codes
    from piccolo.cli.output import say
    from piccolo.cli.workloads.changing import How, compare
    from piccolo.core.errors import PiccoloError

    try:
        sources = read_sources(files)
        how = How(output, context, master, wait=False, dry_run=True, diff=True)
        compare(lambda stub: _apply(stub, sources, True), how)
    except PiccoloError as error:
        say(str(error))
        code = exit_codes.of(error)  # 1 would say that there are differences
        raise typer.Exit(exit_codes.USAGE if code == exit_codes.FAILED else code) from None


def read_sources(files: Sequence[str]) -> list[wire.Source]:
    """What is in them, unread. Raises `InvalidSpec` with a line for each that cannot be read."""
    from piccolo.config.manifests.loading import read_raw
    from piccolo.core.errors import InvalidSpec
    from piccolo.rpc import wire

    sources, problems = [], []
    for name, data in read_raw(files, lambda limit: sys.stdin.buffer.read(limit), MAX_SENT):
        if isinstance(data, InvalidSpec):
            problems.append(str(data))
        else:
            sources.append(wire.Source(name=name, text=data))
    if problems:
        raise InvalidSpec("nothing was changed:\n" + "\n".join(f"  {p}" for p in problems))
    return sources


async def _apply(stub: client.Stub, sources: list[wire.Source], dry_run: bool) -> Answer:
    from piccolo.cli.workloads.changing import Answer
    from piccolo.rpc import wire

    reply = await stub.apply(wire.ApplyRequest(sources=sources, dry_run=dry_run))
    return Answer(reply.changes, reply.plan, reply.problems, reply.notices, reply.revision)
