"""Options that several commands share, each described once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from piccolo.core.errors import InvalidSpec


class Output(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


MasterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--master",
        metavar="HOST[:PORT]",
        help="Where the master is. May be given several times; the first that answers is used. "
        "Else $PICCOLO_MASTER, else those of the context.",
    ),
]
ContextOption = Annotated[
    str,
    typer.Option(
        "--context",
        metavar="NAME|FILE",
        help="Who you are, in which cluster: see `piccolo context`. Else $PICCOLO_CONTEXT, else "
        "the one in use, else that of the master on this machine.",
    ),
]
OutputOption = Annotated[
    Output, typer.Option("-o", "--output", help="How to print.", case_sensitive=False)
]
WatchOption = Annotated[
    bool, typer.Option("-w", "--watch", help="Print, then go on printing changes as they happen.")
]


def _selector(example: str) -> Any:
    text = f'Labels and fields, e.g. "{example}".'
    return typer.Option("-l", "--selector", metavar="SELECTOR", help=text)


NodeSelector = Annotated[str, _selector("zone=front,.arch!=arm64,.status=Ready")]
WorkloadSelector = Annotated[str, _selector("tier=front,.state!=Running")]
ContainerSelector = Annotated[str, _selector(".state=running,.node=n1")]
NodeOption = Annotated[str, typer.Option("--node", metavar="NODE", help="Only of this node.")]
_PREFIX = "workload/"  # with -o name, changes print it before a name


def _bare(name: str) -> str:
    return name.removeprefix(_PREFIX)


def _all_bare(names: list[str]) -> list[str]:
    return [_bare(name) for name in names]


WorkloadArgument = Annotated[str, typer.Argument(metavar="NAME", callback=_bare)]
WorkloadsArgument = Annotated[list[str], typer.Argument(metavar="NAME…", callback=_all_bare)]
_PATIENCE = 1_000_000.0  # s


def _patience(seconds: float) -> float:
    if not 0 < seconds <= _PATIENCE:  # nor what is no number
        raise InvalidSpec(
            f"--timeout: {seconds:g} is not possible: nothing is answered in no time; write more"
            f" than 0 s, at most {_PATIENCE:.0f} s"
        )
    return seconds


TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", help="How long to wait for an answer.", callback=_patience
    ),
]
FilesOption = Annotated[
    list[str],
    typer.Option(
        "-f",
        "--file",
        metavar="FILE|DIR|-",
        help="A file, a directory (its *.yaml, *.yml and *.json), or - for standard input. May be "
        "given several times; what is given is one whole.",
    ),
]


def _wait_time(text: str) -> str:
    seconds_of("--timeout", text)
    return text


def seconds_of(option: str, text: str) -> float:
    """Raises `InvalidSpec`, naming the option, for what is no duration of more than 0 s."""
    from piccolo.config.units import parse_duration

    try:
        return _patience(parse_duration(text))
    except InvalidSpec as error:
        raise InvalidSpec(f"{option}: {str(error).removeprefix(f'{option}: ')}") from None


WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait",
        help="Wait until all is as asked; exit code 1 when something failed, 7 when it took too "
        "long. The cluster goes on by itself either way.",
    ),
]
WaitTimeOption = Annotated[
    str,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        help="How long to wait at most: 90s, 5m, 1h.",
        callback=_wait_time,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing: print what would change, and the plan.")
]
LogLevelOption = Annotated[
    str | None, typer.Option("--log-level", help="debug, info, warning or error.")
]
LogFormatOption = Annotated[str | None, typer.Option("--log-format", help="text or json.")]
