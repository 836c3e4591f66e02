"""`piccolo status`: the whole cluster on one screen; and the drawing of its topology."""

from __future__ import annotations

from collections.abc import Sequence

from piccolo.cli.options import Output
from piccolo.cli.output import Table, age, clean, dump, paint, size, warn_if_degraded
from piccolo.cli.show import rows
from piccolo.cli.show.workload_rows import colour, ready_words, summary_dict, why
from piccolo.rpc import wire

_TROUBLED = 5  # workloads that are named


def show_status(reply: wire.GetClusterStatusResponse, output: Output) -> None:
    cluster = reply.cluster or wire.ClusterInfo()
    if output in (Output.JSON, Output.YAML):
        dump(_status_dict(reply), output)
        return
    if output is Output.NAME:
        print(cluster.name)
        return
    ready = sum(n.status == wire.NodeStatus.READY for n in reply.nodes)
    healthy = ready == len(reply.nodes) and ready > 0
    health = paint(f"{ready}/{len(reply.nodes)} nodes ready", "green" if healthy else "yellow")
    print(f"{paint(cluster.name, 'bold')}   {health}   ", end="")
    print(f"{reply.containers_running}/{reply.containers_total} containers running")
    print(
        f"master {cluster.master_version}, up {age(reply.started_at)},"
        f" {size(reply.master_resident_kb * 1024)}, store {reply.store}"
    )
    if reply.workloads_total:
        _print_workloads(reply.workloads_total, reply.workloads_in_trouble)
    if reply.rebuilding:
        print(paint(clean(reply.rebuilding), "yellow"))
    if reply.view is not None:
        warn_if_degraded(reply.view.degraded, reply.view.message)
    if reply.nodes:
        print()
        Table(rows.NODE_COLUMNS, output is Output.WIDE).print(reply.nodes)
    if reply.recent_events:
        print()
        Table(rows.EVENT_COLUMNS, output is Output.WIDE).print(reply.recent_events)


def _print_workloads(total: int, troubled: Sequence[wire.Workload]) -> None:
    """What is on its way will be as asked, as far as is known."""
    well = total - len(troubled)
    text = f"{well} of {total} as asked or on the way"
    print(f"workloads: {paint(text, 'red' if troubled else 'green')}")
    for w in troubled[:_TROUBLED]:
        message = f": {clean(why(w))}" if why(w) else ""
        print(f"  {clean(w.name)}: {paint(clean(w.state), colour(w))}, {ready_words(w)}{message}")
    if (more := len(troubled) - _TROUBLED) > 0:
        print(f"  and {more} more: piccolo get workloads -l .failed=true")


def _status_dict(reply: wire.GetClusterStatusResponse) -> dict[str, object]:
    cluster, view = reply.cluster or wire.ClusterInfo(), reply.view or wire.ViewInfo()
    return {
        "cluster": {"id": cluster.id, "name": cluster.name},
        "master": {
            "version": cluster.master_version,
            "addresses": list(cluster.master_addresses),
            "startedAt": rows.time_text(reply.started_at),
            "residentKb": reply.master_resident_kb,
            "store": reply.store,
            "degraded": view.degraded,
            "message": view.message,
            "rebuilding": reply.rebuilding,
        },
        "containers": {"running": reply.containers_running, "total": reply.containers_total},
        "workloads": {
            "total": reply.workloads_total,
            "inTrouble": [summary_dict(w) for w in reply.workloads_in_trouble],
        },
        "nodes": [rows.node_dict(n) for n in reply.nodes],
        "events": [rows.event_dict(e) for e in reply.recent_events],
    }


def show_topology(t: wire.ClusterTopology | None, output: Output) -> None:
    """In any of the formats; nothing for what is no topology (a watch's SYNCED)."""
    if t is None:
        return
    if output in (Output.JSON, Output.YAML):
        dump(rows.topology_dict(t), output)
    else:
        print(t.name if output is Output.NAME else _draw_topology(t), flush=True)


def _draw_topology(t: wire.ClusterTopology) -> str:
    """The cluster as a tree of text."""
    parent = f"   parent: {t.parent_cluster}" if t.parent_cluster else ""
    lines = [f"{paint(t.name, 'bold')} ({rows.topology_dict(t)['type']}){parent}"]
    groups = [("master", t.master_nodes), ("sub", t.sub_nodes)]
    groups = [(title, nodes) for title, nodes in groups if nodes]
    for index, (title, nodes) in enumerate(groups):
        last_group = index == len(groups) - 1
        lines.append(f"{'└' if last_group else '├'}─ {title}")
        for i, node in enumerate(nodes):
            bar = " " if last_group else "│"
            mark = "└" if i == len(nodes) - 1 else "├"
            status = paint(rows.node_status(node), rows.node_colour(node))
            lines.append(f"{bar}  {mark}─ {node.name}  {node.ip}  {status}")
    lines += [f"{k}: {v}" for k, v in t.config.items()]
    return "\n".join(lines)
