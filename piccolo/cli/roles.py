"""`piccolo master` and `piccolo agent`: settle the settings, then be the role."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from piccolo.cli.options import LogFormatOption, LogLevelOption
from piccolo.core.errors import InvalidSpec

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="See docs/configuration.md for its keys."),
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where it keeps its state.")
]


def master(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="ADDR:PORT", help="TCP for gRPC and UDP for pulses."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help='"sqlite" (default, in the data directory) or etcd://HOST:PORT[,HOST:PORT…].',
        ),
    ] = None,
    san: Annotated[
        list[str] | None,
        typer.Option(
            "--san",
            metavar="NAME",
            help="A further name or address for the master's certificate. May be repeated.",
        ),
    ] = None,
    rebuild: Annotated[
        str | None,
        typer.Option(
            "--rebuild",
            metavar="DURATION",
            help="After the loss of a master without a backup: take over what the nodes that join "
            "hold, and stop nothing for so long.",
        ),
    ] = None,
    log_level: LogLevelOption = None,
    log_format: LogFormatOption = None,
) -> None:
    """Run the master of a cluster, in the foreground.

    Example:  piccolo master --config node.yaml

    Without --config every node may join (discovery: any). SIGHUP rereads the file.
    """
    from piccolo.config.master import resolve_master_settings
    from piccolo.roles.master import main

    flags = {
        "data_dir": data_dir and str(data_dir),
        "listen": listen,
        "store": store,
        "san": san or None,
        "rebuild": rebuild,
        "log_level": log_level,
        "log_format": log_format,
    }
    given = {k: v for k, v in flags.items() if v is not None}
    main(lambda: resolve_master_settings(config, os.environ, given))


def agent(
    master: Annotated[
        list[str] | None,
        typer.Option("--master", metavar="HOST[:PORT]", help="May be given several times."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the node; default: the host name.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TOKEN",
            help="To join with, the first time: `piccolo token create` on the master prints it. "
            "Or in $PICCOLO_TOKEN.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Has the token, and nothing else."),
    ] = None,
    ca_pin: Annotated[
        str | None,
        typer.Option(
            "--ca-pin",
            metavar="SHA256:…",
            help="The cluster's authority, for a node that joins without token (by its key).",
        ),
    ] = None,
    show_key: Annotated[
        bool,
        typer.Option(
            "--show-key", help="Print the fingerprint of this node's key, for node.yaml, and end."
        ),
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    podman_socket: Annotated[
        Path | None,
        typer.Option(
            "--podman-socket", metavar="PATH", help="Default: the system's or the user's."
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    role: Annotated[
        str | None, typer.Option("--role", help="sub (default), or master on the master's machine.")
    ] = None,
    type: Annotated[str | None, typer.Option("--type", help="embedded or cloud.")] = None,
    link: Annotated[str | None, typer.Option("--link", help="wired, wireless or cellular.")] = None,
    log_level: LogLevelOption = None,
    log_format: LogFormatOption = None,
) -> None:
    """Run the agent of this machine, in the foreground: it joins the master's cluster as a node.

    Example:  piccolo agent --master 10.0.0.1 --token piccolo1.… --label zone=front

    It only dials out; no port is opened on this machine.
    """
    from piccolo.config.agent import resolve_agent_settings
    from piccolo.roles.handover import become
    from piccolo.security.request import fingerprint_in, prepare

    flags = {
        "masters": master or None,
        "name": name,
        "data_dir": data_dir and str(data_dir),
        "podman_socket": podman_socket and str(podman_socket),
        "token": token,
        "token_file": token_file and str(token_file),
        "ca_pin": ca_pin,
        "labels": _labels(label or []) or None,
        "role": role,
        "type": type,
        "link": link,
        "log_level": log_level,
        "log_format": log_format,
    }
    given = {k: v for k, v in flags.items() if v is not None}
    if show_key:
        given.setdefault("masters", ["localhost"])  # which is not asked
    settings, notices = resolve_agent_settings(config, os.environ, given)
    if show_key:
        print(fingerprint_in(Path(settings.data_dir)))
        return
    for notice in notices:
        print(f"piccolo agent: {notice}", file=sys.stderr)
    prepare(Path(settings.data_dir))
    become(settings)


def _labels(texts: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidSpec(f'--label "{text}" is not of the form KEY=VALUE')
        labels[key] = value
    return labels
