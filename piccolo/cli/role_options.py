"""The options of `piccolo master` and `piccolo agent`, which `piccolo config show` has too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from piccolo.core.errors import InvalidSpec

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="See docs/configuration.md for its keys."),
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where it keeps its state.")
]
ListenOption = Annotated[
    str | None,
    typer.Option("--listen", metavar="ADDR:PORT", help="TCP for gRPC and UDP for pulses."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help='"sqlite" (default, in the data directory) or etcd://HOST:PORT[,HOST:PORT…].',
    ),
]
SanOption = Annotated[
    list[str] | None,
    typer.Option(
        "--san",
        metavar="NAME",
        help="A further name or address for the master's certificate. May be repeated.",
    ),
]
MastersOption = Annotated[
    list[str] | None,
    typer.Option("--master", metavar="HOST[:PORT]", help="May be given several times."),
]
NodeNameOption = Annotated[
    str | None, typer.Option("--name", help="Of the node; default: the host name.")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Has the token, and nothing else."),
]
CaPinOption = Annotated[
    str | None,
    typer.Option(
        "--ca-pin",
        metavar="SHA256:…",
        help="The cluster's authority, for a node that joins without token (by its key).",
    ),
]
PodmanSocketOption = Annotated[
    Path | None,
    typer.Option("--podman-socket", metavar="PATH", help="Default: the system's or the user's."),
]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")
]
RoleOption = Annotated[
    str | None, typer.Option("--role", help="sub (default), or master on the master's machine.")
]
TypeOption = Annotated[str | None, typer.Option("--type", help="embedded or cloud.")]
LinkOption = Annotated[str | None, typer.Option("--link", help="wired, wireless or cellular.")]


def given(**flags: Any) -> dict[str, Any]:
    """What was given, as the resolution of the settings takes it."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in flags.items()
        if value not in (None, [], {})
    }


def labels_of(texts: Iterable[str] | None) -> dict[str, str]:
    """Raises `InvalidSpec` for what is not of the form KEY=VALUE."""
    labels: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidSpec(f'--label "{text}" is not of the form KEY=VALUE')
        labels[key] = value
    return labels
