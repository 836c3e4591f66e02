"""`piccolo top`: who uses how much."""

from __future__ import annotations

import typer

from piccolo.cli.options import (
    ContainerSelector,
    ContextOption,
    MasterOption,
    NodeOption,
    NodeSelector,
    Output,
    OutputOption,
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
    selector: NodeSelector = "",
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Usage per node, from its latest heartbeat."""
    from piccolo.cli import client
    from piccolo.cli.show.kinds import NODES_IN_USE
    from piccolo.rpc import wire

    if watch:
        NODES_IN_USE.follow(master, timeout, output, filter=selector, usage=True, context=context)
    request = wire.GetNodesRequest(filter=selector)
    reply = client.call(master, timeout, lambda stub: stub.get_nodes(request), context=context)
    NODES_IN_USE.print(reply.nodes, reply.view, output, selector=selector)


@app.command()
def containers(
    selector: ContainerSelector = "",
    node: NodeOption = "",
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Usage per running container, the busiest first."""
    from piccolo.cli import client
    from piccolo.cli.show.kinds import CONTAINERS_IN_USE
    from piccolo.rpc import wire

    request = wire.GetContainersRequest(node=node, filter=selector)
    reply = client.call(master, timeout, lambda stub: stub.get_containers(request), context=context)
    running = [c for c in reply.containers if c.status and c.status.state == "running"]
    running.sort(key=lambda c: c.usage.cpu_percent if c.usage else 0.0, reverse=True)
    CONTAINERS_IN_USE.print(running, reply.view, output, selector=selector)
