"""`piccolo get`: lists of nodes, containers, events, and the topology; live with --watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import typer

from piccolo.cli.options import (
    MasterOption,
    NodeOption,
    Output,
    OutputOption,
    SelectorOption,
    TimeoutOption,
    WatchOption,
)

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="List what there is.",
    epilog="Examples:  piccolo get nodes -w   ·   piccolo get containers --node n1 -o json",
)


@app.command()
def nodes(
    selector: SelectorOption = "",
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List the nodes of the cluster."""
    from piccolo.cli import client, rows
    from piccolo.cli.output import print_list, warn_if_degraded
    from piccolo.rpc import wire

    if watch:
        request = wire.WatchRequest(kind=wire.WatchKind.NODE, filter=selector)
        follow(
            master,
            timeout,
            request,
            output,
            rows.NODE_COLUMNS,
            lambda r: r.node,
            rows.node_dict,
            lambda n: n.name,
        )
        return
    reply = client.call(
        master, timeout, lambda stub: stub.get_nodes(wire.GetNodesRequest(filter=selector))
    )
    if reply.view is not None:
        warn_if_degraded(reply.view.degraded, reply.view.message)
    print_list(
        reply.nodes,
        output,
        rows.NODE_COLUMNS,
        rows.node_dict,
        lambda n: n.name,
        "no nodes"
        + (" match" if selector else " yet; on each machine run: piccolo agent --master HOST"),
    )


@app.command()
def node(
    name: str,
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show one node, by name or id."""
    from piccolo.cli import client, rows
    from piccolo.cli.output import Table, dump, warn_if_degraded
    from piccolo.rpc import wire

    if watch:
        request = wire.WatchRequest(kind=wire.WatchKind.NODE, node=name)
        follow(
            master,
            timeout,
            request,
            output,
            rows.NODE_COLUMNS,
            lambda r: r.node,
            rows.node_dict,
            lambda n: n.name,
        )
        return
    reply = client.call(
        master, timeout, lambda stub: stub.get_node(wire.GetNodeRequest(node_id=name))
    )
    assert reply.node is not None
    if reply.view is not None:
        warn_if_degraded(reply.view.degraded, reply.view.message)
    if output in (Output.JSON, Output.YAML):
        dump(rows.node_dict(reply.node), output)
    elif output is Output.NAME:
        print(reply.node.name)
    else:
        Table(rows.NODE_COLUMNS, output is Output.WIDE).print([reply.node])


@app.command()
def containers(
    selector: SelectorOption = "",
    node: NodeOption = "",
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List the containers of all nodes, as their runtimes report them."""
    from piccolo.cli import client, rows
    from piccolo.cli.output import print_list, warn_if_degraded
    from piccolo.rpc import wire

    def name(c: wire.Container) -> str:
        return f"{c.node_name}/{c.status.name if c.status else ''}"

    if watch:
        request = wire.WatchRequest(kind=wire.WatchKind.CONTAINER, filter=selector, node=node)
        follow(
            master,
            timeout,
            request,
            output,
            rows.CONTAINER_COLUMNS,
            lambda r: r.container,
            rows.container_dict,
            name,
        )
        return
    reply = client.call(
        master,
        timeout,
        lambda stub: stub.get_containers(wire.GetContainersRequest(node=node, filter=selector)),
    )
    if reply.view is not None:
        warn_if_degraded(reply.view.degraded, reply.view.message)
    print_list(
        reply.containers,
        output,
        rows.CONTAINER_COLUMNS,
        rows.container_dict,
        name,
        "no containers",
    )


@app.command()
def events(
    node: NodeOption = "",
    limit: int = typer.Option(50, "--limit", help="The newest so many; 0: all that are kept."),
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List what happened, oldest first."""
    from piccolo.cli import client, rows
    from piccolo.cli.output import print_list, warn_if_degraded
    from piccolo.rpc import wire

    if watch:
        request = wire.WatchRequest(kind=wire.WatchKind.EVENT, node=node)
        follow(
            master,
            timeout,
            request,
            output,
            rows.EVENT_COLUMNS,
            lambda r: r.event,
            rows.event_dict,
            lambda e: e.id,
        )
        return
    reply = client.call(
        master,
        timeout,
        lambda stub: stub.get_events(wire.GetEventsRequest(node=node, limit=max(0, limit))),
    )
    if reply.view is not None:
        warn_if_degraded(reply.view.degraded, reply.view.message)
    print_list(
        reply.events, output, rows.EVENT_COLUMNS, rows.event_dict, lambda e: e.id, "no events"
    )


@app.command()
def topology(
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show the cluster's topology: its type, its master and sub nodes."""
    from piccolo.cli import client, rows
    from piccolo.cli.output import dump, warn_if_degraded
    from piccolo.cli.status import draw_topology
    from piccolo.rpc import wire

    def show(found: wire.ClusterTopology) -> None:
        if output in (Output.JSON, Output.YAML):
            dump(rows.topology_dict(found), output)
        elif output is Output.NAME:
            print(found.name)
        else:
            print(draw_topology(found))

    if watch:
        client.watch(
            master,
            timeout,
            wire.WatchRequest(kind=wire.WatchKind.TOPOLOGY),
            lambda r: show(r.topology) if r.topology else None,
        )
        return
    reply = client.call(master, timeout, lambda stub: stub.get_topology(wire.GetTopologyRequest()))
    if reply.view is not None:
        warn_if_degraded(reply.view.degraded, reply.view.message)
    if reply.topology is not None:
        show(reply.topology)


def follow(
    master: list[str] | None,
    timeout: float,
    request: Any,
    output: Output,
    columns: Sequence[Any],
    pick: Callable[[Any], T | None],
    to_dict: Callable[[T], Mapping[str, Any]],
    name: Callable[[T], str],
) -> None:
    """Print the list, then a line per change: a table row, or a JSON/YAML document of the form
    {"type": ADDED|MODIFIED|DELETED|SYNCED|RESYNC, "object": …}."""
    from piccolo.cli import client
    from piccolo.cli.output import Table, to_text
    from piccolo.rpc import wire

    table: Table[T] = Table(columns, output is Output.WIDE)
    first: list[T] | None = []  # what the first list holds, until it is complete
    shown: dict[str, object] = {}  # by name, to tell news from what is told again

    def show_document(kind: str, item: T | None) -> None:
        if item is None:
            print(to_text({"type": kind}, output, one_line=True), flush=True)
            return
        data = to_dict(item)
        if kind != "ADDED" or shown.get(name(item)) != data:
            print(to_text({"type": kind, "object": data}, output, one_line=True), flush=True)
        shown[name(item)] = data

    def show_row(kind: str, item: T | None) -> None:
        nonlocal first
        if item is None:
            if first is not None:
                table.print(first)
            first = None
        elif kind == "DELETED":
            shown.pop(name(item), None)
            print(f"{name(item)}: gone", flush=True)
        else:
            news = table.news(item)
            if first is not None:
                first.append(item)
            elif shown.get(name(item)) != news:
                table.print([item])
            shown[name(item)] = news

    def show(response: wire.WatchResponse) -> None:
        item, kind = pick(response), response.type.name or "UNKNOWN"
        if output in (Output.JSON, Output.YAML):
            show_document(kind, item)
        elif output is not Output.NAME:
            show_row(kind, item)
        elif item is not None:
            print(name(item), flush=True)

    client.watch(master, timeout, request, show)
