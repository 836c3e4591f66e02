"""`piccolo validate` and `piccolo schema`: documents, without a master."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piccolo.cli.options import FilesOption, Output, OutputOption

if TYPE_CHECKING:
    from piccolo.config.manifests.finding import Finding, Found
    from piccolo.config.manifests.reading import Reading


def validate(files: FilesOption, output: OutputOption = Output.TABLE) -> None:
    """Check documents that say what is to run; no master is asked. Exit code 2 for problems.

    Example:  piccolo validate -f app.yaml -f more/
    """
    from piccolo.cli import exit_codes
    from piccolo.cli.output import dump
    from piccolo.config.manifests.loading import read_all
    from piccolo.config.manifests.reading import read

    reading = read(read_all(files, lambda limit: sys.stdin.buffer.read(limit)))
    if output in (Output.JSON, Output.YAML):
        dump(_to_dict(reading), output)
    elif output is Output.NAME:
        for found in reading.found:
            print(_shown(found))
        reading.manifests()
    else:
        _show(reading)
    if reading.problems:
        raise typer.Exit(exit_codes.USAGE)


def schema(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[KIND]", help="Workload, Pod, Deployment, …; without it all."),
    ] = None,
) -> None:
    """Print the JSON Schema of documents, for editors.

    Example:  piccolo schema > piccolo.schema.json
    """
    from piccolo.cli.output import dump
    from piccolo.config.manifests.schema import schema_of

    dump(schema_of(kind), Output.JSON)


def _shown(found: Found) -> str:
    return f"{found.kind.lower()}/{found.name}" if found.kind and found.name else str(found)


def _show(reading: Reading) -> None:
    from piccolo.cli.output import clean, paint

    for finding in reading.broken:
        print(f"{paint('✗', 'red')} {clean(str(finding))}")
    for found in reading.found:
        problems = found.problems
        mark = paint("✗", "red") if problems else paint("✓", "green")
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        print(f"{mark} {clean(str(found))}: {count if problems else 'ok'}")
        for problem in problems:
            print(f"    {clean(str(problem))}")
        for notice in found.notices:
            print(f"    {paint('note:', 'yellow')} {clean(str(notice))}")
    for finding in reading.empty:
        print(f"{paint('note:', 'yellow')} {clean(str(finding))}")


def _to_dict(reading: Reading) -> dict[str, Any]:
    return {
        "ok": not reading.problems,
        "objects": [
            {
                "source": f.document.source,
                "document": f.document.number,
                "line": f.document.position(("kind",))[0],
                "kind": f.kind,
                "name": f.name,
                "ok": not f.problems,
            }
            for f in reading.found
        ],
        "problems": [_finding_dict(p) for p in reading.problems],
        "notices": [_finding_dict(n) for n in reading.notices],
    }


def _finding_dict(finding: Finding) -> dict[str, Any]:
    return {
        "source": finding.source,
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
    }
