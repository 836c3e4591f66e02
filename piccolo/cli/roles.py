"""`piccolo master` and `piccolo agent`: settle the settings, then be the role."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from piccolo.cli.options import LogFormatOption, LogLevelOption
from piccolo.cli.role_options import (
    CaPinOption,
    ConfigOption,
    DataDirOption,
    LabelOption,
    LinkOption,
    ListenOption,
    MastersOption,
    NodeNameOption,
    PodmanSocketOption,
    RoleOption,
    SanOption,
    StoreOption,
    TokenFileOption,
    TypeOption,
    given,
    labels_of,
)


def master(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    listen: ListenOption = None,
    store: StoreOption = None,
    san: SanOption = None,
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

    flags = given(
        data_dir=data_dir,
        listen=listen,
        store=store,
        san=san,
        rebuild=rebuild,
        log_level=log_level,
        log_format=log_format,
    )
    main(lambda: resolve_master_settings(config, os.environ, flags))


def agent(
    master: MastersOption = None,
    name: NodeNameOption = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TOKEN",
            help="To join with, the first time: `piccolo token create` on the master prints it. "
            "Or in $PICCOLO_TOKEN.",
        ),
    ] = None,
    token_file: TokenFileOption = None,
    ca_pin: CaPinOption = None,
    show_key: Annotated[
        bool,
        typer.Option(
            "--show-key", help="Print the fingerprint of this node's key, for node.yaml, and end."
        ),
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    podman_socket: PodmanSocketOption = None,
    label: LabelOption = None,
    role: RoleOption = None,
    type: TypeOption = None,
    link: LinkOption = None,
    log_level: LogLevelOption = None,
    log_format: LogFormatOption = None,
) -> None:
    """Run the agent of this machine, in the foreground: it joins the master's cluster as a node.

    Example:  piccolo agent --master 10.0.0.1 --token piccolo1.… --label zone=front

    It only dials out; no port is opened on this machine.
    """
    from piccolo.config.agent import resolve_agent, resolve_agent_settings
    from piccolo.roles.handover import become
    from piccolo.security.request import fingerprint_in, prepare

    flags = given(
        masters=master,
        name=name,
        data_dir=data_dir,
        podman_socket=podman_socket,
        token=token,
        token_file=token_file,
        ca_pin=ca_pin,
        labels=labels_of(label),
        role=role,
        type=type,
        link=link,
        log_level=log_level,
        log_format=log_format,
    )
    if show_key:
        found = resolve_agent(config, os.environ, flags)  # which needs no master
        print(fingerprint_in(Path(found.settings.data_dir)))
        return
    settings, notices = resolve_agent_settings(config, os.environ, flags)
    for notice in notices:
        print(f"piccolo agent: {notice}", file=sys.stderr)
    prepare(Path(settings.data_dir))
    become(settings)
