"""`piccolo describe`: everything about one object, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from piccolo.cli.options import ContextOption, MasterOption, TimeoutOption, WorkloadArgument

if TYPE_CHECKING:
    from piccolo.rpc import wire

app = typer.Typer(
    no_args_is_help=True,
    help="Show everything about one object.",
    epilog="Examples:  piccolo describe workload web   ·   piccolo describe node n1",
)


@app.command()
def node(
    name: str,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show a node: what it is, how it is, its containers and its latest events."""
    from piccolo.cli import client
    from piccolo.rpc import wire

    async def fetch(
        stub: client.Stub,
    ) -> tuple[wire.GetNodeResponse, wire.GetContainersResponse, wire.GetEventsResponse]:
        return (
            await stub.get_node(wire.GetNodeRequest(node_id=name)),
            await stub.get_containers(wire.GetContainersRequest(node=name)),
            await stub.get_events(wire.GetEventsRequest(node=name, limit=10)),
        )

    found, containers, events = client.call(master, timeout, fetch, context=context)
    assert found.node is not None
    _print(found.node, containers.containers, events.events)


@app.command()
def workload(
    name: WorkloadArgument,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show a workload: what was asked for, what became of it, where, and its latest events."""
    from piccolo.cli import client
    from piccolo.cli.show.describe_workload import print_workload
    from piccolo.rpc import wire

    request = wire.GetWorkloadRequest(name=name)
    print_workload(
        client.call(master, timeout, lambda stub: stub.get_workload(request), context=context)
    )


def _print(node: wire.Node, containers: list[wire.Container], events: list[wire.Event]) -> None:
    from piccolo.cli.output import Table, age, paint
    from piccolo.cli.show import rows

    data = rows.node_dict(node)
    facts, resources, link = node.facts, node.resources, node.link

    def line(title: str, value: object) -> None:
        print(f"{title + ':':<14}{value}")

    line("Name", paint(node.name, "bold"))
    line("Status", paint(rows.node_status(node), rows.node_colour(node)) + f", {age(node.since)}")
    line("Reason", f"{node.reason}: {node.message}")
    line("Id", node.id)
    line("Role", f"{data['role']}, {data['type']}")
    line("Address", node.ip)
    line("Labels", ", ".join(f"{k}={v}" for k, v in node.labels.items()) or "none")
    line("Joined", f"{data['createdAt']} ({age(node.created_at)} ago)")
    line("Last seen", rows.last_seen(node))
    line("Certificate", f"until {data['certificateExpires']}" if node.certificate_expires else "-")
    if facts is not None:
        line("System", f"{facts.os}, {facts.kernel}, {facts.architecture}")
        line("Agent", facts.agent_version)
        line("Runtime", f"Podman {facts.runtime_version}" if facts.runtime_version else "none")
    if resources is not None:
        line(
            "Resources",
            f"{resources.cpu_cores} cores, {resources.memory_mb} MB, {resources.disk_gb} GB disk",
        )
    if node.usage is not None:
        u = node.usage
        line(
            "Usage",
            f"CPU {u.cpu_percent:.1f} %, memory {u.memory_available_percent:.1f} % available,"
            f" disk {u.disk_used_percent:.1f} % used",
        )
    if link is not None:
        line(
            "Link",
            f"{node.link_profile}, {'connected' if link.connected else 'not connected'}"
            f" from {link.peer or '-'}, pulses by {'datagram' if link.datagrams else 'stream'},"
            f" session {node.generation:#x}",
        )
    if node.conditions:
        print("\nConditions")
        for c in node.conditions:
            print(f"  {c.type}={str(c.status).lower()}  {c.reason}  {c.message}  ({age(c.since)})")
    if containers:
        print()
        Table(rows.CONTAINER_COLUMNS[1:], False).print(containers)
    if events:
        print()
        Table(rows.EVENT_COLUMNS, False).print(events)
