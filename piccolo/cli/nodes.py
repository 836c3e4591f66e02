"""Verbs that change or ask a node: approve, label, remove, health."""

from __future__ import annotations

from typing import Annotated

import typer

from piccolo.cli.options import ContextOption, MasterOption, Output, OutputOption, TimeoutOption
from piccolo.core.errors import InvalidSpec

label_app = typer.Typer(no_args_is_help=True, help="Set and remove labels.")
remove_app = typer.Typer(no_args_is_help=True, help="Take something out of the cluster.")


def approve(
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its name or id.")],
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Let in a node that is Pending because `node.yaml` does not list it."""
    from piccolo.cli import client
    from piccolo.cli.show import rows
    from piccolo.rpc import wire

    reply = client.call(
        master,
        timeout,
        lambda stub: stub.approve_node(wire.ApproveNodeRequest(node=name)),
        context=context,
    )
    assert reply.node is not None
    print(f"node {reply.node.name} approved, now {rows.node_status(reply.node)}")


@label_app.command("node")
def label_node(
    name: Annotated[str, typer.Argument(metavar="NODE")],
    changes: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE… KEY-…", help="KEY- removes the label KEY.")
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Change labels that have another value.")
    ] = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Set or remove labels of a node.

    Example:  piccolo label node n1 zone=front canary-
    """
    from piccolo.cli import client
    from piccolo.rpc import wire

    put, gone = split_changes(changes)
    request = wire.LabelNodeRequest(node=name, set=put, remove=gone, overwrite=overwrite)
    reply = client.call(master, timeout, lambda stub: stub.label_node(request), context=context)
    assert reply.node is not None
    labels = ", ".join(f"{k}={v}" for k, v in reply.node.labels.items())
    print(f"node {reply.node.name}: {labels or 'no labels'}")


def split_changes(changes: list[str]) -> tuple[dict[str, str], list[str]]:
    """What to set and what to remove. Raises `InvalidSpec` for anything else."""
    put: dict[str, str] = {}
    gone: list[str] = []
    for change in changes:
        key, equals, value = change.partition("=")
        if equals and key:
            put[key] = value
        elif change.endswith("-") and len(change) > 1:
            gone.append(change[:-1])
        else:
            raise InvalidSpec(f'"{change}" is no change of a label; write KEY=VALUE or KEY-')
    return put, gone


@remove_app.command("nodes", hidden=True)
@remove_app.command("node")
def remove_node(
    name: Annotated[str, typer.Argument(metavar="NODE")],
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Take a node out of the cluster and forget what it reported.

    Its agent is told and stops; its containers are left as they are.
    """
    from piccolo.cli import client
    from piccolo.rpc import wire

    reply = client.call(
        master,
        timeout,
        lambda stub: stub.remove_node(wire.RemoveNodeRequest(node=name)),
        context=context,
    )
    assert reply.node is not None
    print(f"node {reply.node.name} removed")


def health(
    name: Annotated[str, typer.Argument(metavar="NODE")],
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 5.0,
) -> None:
    """Ask a node's agent, now, whether it is well. Exit code 1 when it is not."""
    from piccolo.cli import client, exit_codes
    from piccolo.cli.output import dump, paint
    from piccolo.cli.show import rows
    from piccolo.rpc import wire

    request = wire.CheckNodeRequest(node=name, timeout_ms=max(1, int(timeout * 1000)))
    reply = client.call(master, timeout + 2, lambda stub: stub.check_node(request), context=context)
    h = reply.health
    if output in (Output.JSON, Output.YAML):
        dump(
            {
                "node": name,
                "healthy": reply.healthy,
                "message": reply.message,
                "roundTripMs": round(reply.round_trip_ms, 1),
                "agent": {
                    "uptimeSeconds": round(h.uptime_seconds, 1),
                    "loopLagMs": round(h.loop_lag_ms, 1),
                    "residentKb": h.resident_kb,
                    "containers": h.containers,
                    "runtimeReady": h.runtime_ready,
                    "runtimeMessage": h.runtime_message,
                    "usage": rows.usage_dict(h.usage),
                }
                if h
                else None,
            },
            output,
        )
    else:
        word = paint("healthy", "green") if reply.healthy else paint("unhealthy", "red")
        print(f"{name}: {word}, {reply.message}")
        if h is not None:
            print(
                f"round trip {reply.round_trip_ms:.1f} ms, session for {h.uptime_seconds:.0f} s,"
                f" event loop at most {h.loop_lag_ms:.0f} ms late, {h.resident_kb / 1024:.1f} MB,"
                f" {h.containers} containers"
            )
    if not reply.healthy:
        raise SystemExit(exit_codes.FAILED)
