"""`piccolo get`: lists of nodes, workloads, containers, events, certificates, and the topology."""

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
    WorkloadArgument,
    WorkloadSelector,
)
from piccolo.cli.verbs import Nameless

app = typer.Typer(
    no_args_is_help=True,
    help="List what there is.",
    epilog="Examples:  piccolo get workloads -w   ·   piccolo get containers --node n1 -o json",
)


@app.command(cls=Nameless)
def nodes(
    selector: NodeSelector = "",
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List the nodes of the cluster.

    Example:  piccolo get nodes -l zone=front,.status!=Ready
    """
    from piccolo.cli import client
    from piccolo.cli.show.kinds import NODES
    from piccolo.rpc import wire

    if watch:
        NODES.follow(master, timeout, output, filter=selector, context=context)
    request = wire.GetNodesRequest(filter=selector)
    reply = client.call(master, timeout, lambda stub: stub.get_nodes(request), context=context)
    NODES.print(reply.nodes, reply.view, output, selector=selector)


@app.command()
def node(
    name: str,
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show one node, by name or id."""
    from piccolo.cli import client
    from piccolo.cli.output import dump
    from piccolo.cli.show.kinds import NODES
    from piccolo.rpc import wire

    if watch:
        NODES.follow(master, timeout, output, node=name, context=context)
    request = wire.GetNodeRequest(node_id=name)
    reply = client.call(master, timeout, lambda stub: stub.get_node(request), context=context)
    assert reply.node is not None
    if output in (Output.JSON, Output.YAML):
        dump(NODES.to_dict(reply.node), output)
    else:
        NODES.print([reply.node], reply.view, output)


@app.command(cls=Nameless)
def workloads(
    selector: WorkloadSelector = "",
    node: NodeOption = "",
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List what the cluster was told to run, and what became of it.

    Example:  piccolo get workloads -w --node n1 -l .state!=Running
    """
    from piccolo.cli import client
    from piccolo.cli.show.kinds import WORKLOADS
    from piccolo.rpc import wire

    if watch:
        WORKLOADS.follow(master, timeout, output, filter=selector, node=node, context=context)
    request = wire.GetWorkloadsRequest(filter=selector, node=node)
    reply = client.call(master, timeout, lambda stub: stub.get_workloads(request), context=context)
    WORKLOADS.print(reply.workloads, reply.view, output, selector=selector)


@app.command()
def workload(
    name: WorkloadArgument,
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show one workload; with -o json or yaml also its spec."""
    from piccolo.cli import client
    from piccolo.cli.output import dump
    from piccolo.cli.show.kinds import WORKLOADS
    from piccolo.cli.show.spec import spec_dict, spec_of
    from piccolo.rpc import wire

    if watch:
        WORKLOADS.follow(master, timeout, output, names=[name], context=context)
    request = wire.GetWorkloadRequest(name=name)
    reply = client.call(master, timeout, lambda stub: stub.get_workload(request), context=context)
    assert reply.workload is not None
    if output in (Output.JSON, Output.YAML):
        spec = spec_dict(spec_of(reply.spec))
        dump({**WORKLOADS.to_dict(reply.workload), "spec": spec}, output)
    else:
        WORKLOADS.print([reply.workload], reply.view, output)


@app.command()
def containers(
    selector: ContainerSelector = "",
    node: NodeOption = "",
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List the containers of all nodes, as their runtimes report them.

    Example:  piccolo get containers --node n1 -l .state=running
    """
    from piccolo.cli import client
    from piccolo.cli.show.kinds import CONTAINERS
    from piccolo.rpc import wire

    if watch:
        CONTAINERS.follow(master, timeout, output, filter=selector, node=node, context=context)
    request = wire.GetContainersRequest(node=node, filter=selector)
    reply = client.call(master, timeout, lambda stub: stub.get_containers(request), context=context)
    CONTAINERS.print(reply.containers, reply.view, output, selector=selector)


@app.command()
def events(
    node: NodeOption = "",
    limit: int = typer.Option(50, "--limit", min=0, help="The newest so many; 0: all."),
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List what happened, oldest first."""
    from piccolo.cli import client
    from piccolo.cli.show.kinds import EVENTS
    from piccolo.rpc import wire

    if watch:
        EVENTS.follow(master, timeout, output, node=node, context=context)
    request = wire.GetEventsRequest(node=node, limit=limit)
    reply = client.call(master, timeout, lambda stub: stub.get_events(request), context=context)
    EVENTS.print(reply.events, reply.view, output)


@app.command()
def topology(
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show the cluster's topology: its type, its master and sub nodes."""
    from piccolo.cli import client
    from piccolo.cli.output import warn_if_degraded
    from piccolo.cli.show.status import show_topology
    from piccolo.rpc import wire

    if watch:
        request = wire.WatchRequest(kind=wire.WatchKind.TOPOLOGY)
        client.watch(
            master, timeout, request, lambda r: show_topology(r.topology, output), context=context
        )
    reply = client.call(
        master, timeout, lambda stub: stub.get_topology(wire.GetTopologyRequest()), context=context
    )
    if reply.view is not None:
        warn_if_degraded(reply.view.degraded, reply.view.message)
    show_topology(reply.topology, output)


@app.command()
def certificates(
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List the certificates of nodes and clients, newest first."""
    from piccolo.cli import client
    from piccolo.cli.output import print_list
    from piccolo.cli.security import security_rows
    from piccolo.rpc import wire

    request = wire.GetCertificatesRequest()
    reply = client.call(
        master, timeout, lambda stub: stub.get_certificates(request), context=context
    )
    print_list(
        reply.certificates,
        security_rows.CERTIFICATE_COLUMNS,
        security_rows.certificate_dict,
        lambda c: c.serial,
        output,
        none="no certificates",
    )
