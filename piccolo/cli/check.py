"""`piccolo check`: whether this machine can be a node, or the master, and what to do if not.

It needs no master, no certificate and no configuration to say something, and takes less than two
seconds whatever hangs. `packaging/node_ready_check.sh` is the same for machines without Python.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli.options import Output, OutputOption
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeRole

if TYPE_CHECKING:
    from piccolo.core.readiness.facts import Site
    from piccolo.core.readiness.finding import Finding, Verdict

_CONFIG = {NodeRole.SUB: "/etc/piccolo/nodeagent.yaml", NodeRole.MASTER: "/etc/piccolo/node.yaml"}


def check(
    role: Annotated[
        NodeRole, typer.Argument(metavar="[sub|master]", help="What this machine is to be.")
    ] = NodeRole.SUB,
    output: OutputOption = Output.TABLE,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="nodeagent.yaml, or for a master node.yaml; default: the one in /etc/piccolo.",
        ),
    ] = None,
    master: Annotated[
        list[str] | None,
        typer.Option(
            "--master",
            metavar="HOST[:PORT]",
            help="Of a sub node. Else $MASTER_NODE_IP and $GRPC_PORT, else the configuration.",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Keep the result in the two files.")
    ] = True,
    result_file: Annotated[
        Path | None,
        typer.Option(
            "--result-file", metavar="FILE", help="Default: /var/run/piccolo/node_status."
        ),
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file", metavar="FILE", help="Default: /var/log/piccolo/system_check.log."
        ),
    ] = None,
    root: Annotated[
        Path,
        typer.Option(
            "--root",
            metavar="DIR",
            envvar="PICCOLO_ROOT",
            help="Look at /proc, /sys, /etc and /var of a system that lies here.",
        ),
    ] = Path("/"),
) -> None:
    """See whether this machine is ready to join, or to be the master. Exit code 1: it is not.

    Example:  piccolo check --master 10.0.0.1

    Warnings are no failures. -o name prints the ids of what is not well. What each check means and
    what to do about it: docs/check.md.
    """
    from piccolo.cli import exit_codes
    from piccolo.core.readiness.finding import Verdict, verdict
    from piccolo.core.readiness.rules import judge
    from piccolo.host.readiness import gather
    from piccolo.host.results import LOG, RESULT, Results
    from piccolo.security.tls import unverified_context

    if master and role is NodeRole.MASTER:
        raise InvalidSpec("--master is for a sub node: the master itself is not to reach another")
    files = Results(None, None)
    if write:
        files = Results(result_file or _below(root, RESULT), log_file or _below(root, LOG))
    files.begin()
    site = _site(role, config, master or (), root)
    findings = judge(gather(site, root, unverified_context()))
    found = verdict(findings)
    unwritten = files.end(found, findings)
    _print(role, found, findings, unwritten, output)
    if found is Verdict.FAILED:
        raise typer.Exit(exit_codes.FAILED)


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _site(role: NodeRole, config: Path | None, masters: Sequence[str], root: Path) -> Site:
    """What the configuration says; never raises for a wrong one, which is a finding."""
    file = config
    if file is None and (usual := _below(root, _CONFIG[role])).exists():
        file = usual
    source = str(file) if file is not None else "defaults and the environment"
    try:
        if role is NodeRole.SUB:
            return _of_agent(file, masters, source)
        return _of_master(file, source)
    except InvalidSpec as error:
        return _defaults(role, source, str(error))


def _of_agent(file: Path | None, masters: Sequence[str], source: str) -> Site:
    from piccolo.config.agent import resolve_agent
    from piccolo.core.address import GRPC_PORT, parse_address
    from piccolo.core.readiness.facts import Site

    flags = {"masters": list(masters)} if masters else {}
    # What the machine's own name is good for is told when the agent starts.
    settings = resolve_agent(file, os.environ, flags, hostname="node").settings
    if not settings.masters:
        raise InvalidSpec(
            "no master is named: give --master HOST[:PORT], set MASTER_NODE_IP, or write"
            f" master_ip in {_CONFIG[NodeRole.SUB]}"
        )
    if masters:
        source = "--master"
    elif os.environ.get("MASTER_NODE_IP", "").strip():
        source = "the environment"
    own = settings.podman_socket
    return Site(
        role=NodeRole.SUB,
        source=source,
        data_dir=settings.data_dir,
        podman_sockets=(own,) if own else _podman_sockets(),
        masters=tuple(parse_address(m, GRPC_PORT) for m in settings.masters),
    )


def _of_master(file: Path | None, source: str) -> Site:
    from piccolo.config.master import resolve_master_settings
    from piccolo.core.address import ETCD_PORT, GRPC_PORT, parse_address
    from piccolo.core.readiness.facts import Site

    settings, _ = resolve_master_settings(file, os.environ, {})
    scheme, _, rest = settings.store.partition("://")
    hosts = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return Site(
        role=NodeRole.MASTER,
        source=source,
        data_dir=settings.data_dir,
        podman_sockets=_podman_sockets(),
        listen=parse_address(settings.listen, GRPC_PORT, lowest_port=0),
        etcd=tuple(parse_address(h, ETCD_PORT) for h in hosts.split(","))
        if scheme.startswith("etcd")
        else (),
    )


def _defaults(role: NodeRole, source: str, problem: str) -> Site:
    from piccolo.config.paths import DATA_DIR
    from piccolo.core.readiness.facts import Site

    return Site(role, source, DATA_DIR, problem, podman_sockets=_podman_sockets())


def _podman_sockets() -> tuple[str, ...]:
    """As `piccolo.runtime.podman.find_socket` looks for it."""
    from piccolo.core.podman_sockets import usual

    if host := os.environ.get("CONTAINER_HOST"):
        return (host.removeprefix("unix://"),)
    return usual(os.environ, os.geteuid())


def _print(
    role: NodeRole,
    found: Verdict,
    findings: Sequence[Finding],
    unwritten: Sequence[str],
    output: Output,
) -> None:
    from dataclasses import asdict

    from piccolo.cli.output import clean, dump, note, paint
    from piccolo.core.readiness.finding import Level

    if output in (Output.JSON, Output.YAML):
        rows = [{**asdict(f), "level": f.level.value} for f in findings]
        dump({"role": role.value, "verdict": found.value, "findings": rows}, output)
    elif output is Output.NAME:
        for f in findings:
            if f.level is not Level.OK:
                print(f.id)
    else:
        marks = {
            Level.OK: paint("✓", "green"),
            Level.WARNING: paint("!", "yellow"),
            Level.ERROR: paint("✗", "red"),
        }
        for f in findings:
            mark = marks[f.level] if f.checked else "·"
            print(f"{mark} {paint(f.id, 'bold')}: {clean(f.seen)}")
            if f.fix:
                print(f"    → {clean(f.fix)}")
        print(f"status={found.value}")
    for line in unwritten:
        note(line)
