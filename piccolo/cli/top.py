"""`piccolo top`: who uses how much."""

from __future__ import annotations

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

app = typer.Typer(
    no_args_is_help=True,
    help="Show CPU, memory, disk and network in use.",
    epilog="Example:  piccolo top nodes -w",
)


@app.command()
def nodes(
    selector: SelectorOption = "",
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Usage per node, from its latest heartbeat."""
    from piccolo.cli import client, rows
    from piccolo.cli.get import follow
    from piccolo.cli.output import print_list
    from piccolo.rpc import wire

    if watch:
        request = wire.WatchRequest(kind=wire.WatchKind.NODE, filter=selector, usage=True)
        follow(
            master,
            timeout,
            request,
            output,
            rows.TOP_NODE_COLUMNS,
            lambda r: r.node,
            rows.node_dict,
            lambda n: n.name,
        )
        return
    reply = client.call(
        master, timeout, lambda stub: stub.get_nodes(wire.GetNodesRequest(filter=selector))
    )
    print_list(
        reply.nodes, output, rows.TOP_NODE_COLUMNS, rows.node_dict, lambda n: n.name, "no nodes"
    )


@app.command()
def containers(
    selector: SelectorOption = "",
    node: NodeOption = "",
    output: OutputOption = Output.TABLE,
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Usage per running container, the busiest first."""
    from piccolo.cli import client, rows
    from piccolo.cli.output import print_list
    from piccolo.rpc import wire

    reply = client.call(
        master,
        timeout,
        lambda stub: stub.get_containers(wire.GetContainersRequest(node=node, filter=selector)),
    )
    running = [c for c in reply.containers if c.status and c.status.state == "running"]
    running.sort(key=lambda c: c.usage.cpu_percent if c.usage else 0.0, reverse=True)
    print_list(
        running,
        output,
        rows.TOP_CONTAINER_COLUMNS,
        rows.container_dict,
        lambda c: f"{c.node_name}/{c.status.name if c.status else ''}",
        "no running containers",
    )
