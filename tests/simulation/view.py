"""A simulated cluster of real masters and agents, as the judge looks at it (`settled`)."""

from __future__ import annotations

from collections.abc import Iterable

from piccolo.master.cluster import Cluster
from tests.simulation.node import Node
from tests.simulation.settled import NodeView, View


def view_of(c: Cluster, nodes: Iterable[Node]) -> View:
    declared = c.state.declared()
    return View(
        [_node(c, node) for node in nodes],
        declared,
        list(c.state.assignments()),
        c.state.seen(),
        lambda: c.actions._plan(declared),
        c.actions._candidates,
        c.actions._specs.of,
        c.actions._specs.missing,
    )


def _node(c: Cluster, node: Node) -> NodeView:
    runs = node.workloads is not None and node.reporter is not None
    return NodeView(
        node.id,
        node.name,
        c.state.status(node.id).state,
        node.workloads.held() if node.workloads is not None and runs else None,
        node.reporter.report.digest if node.reporter is not None else 0,
        c.reports.of(node.id).digest,
        node.runtime.ours,
        lambda: [*node.runtime.left, *(p.name for p in (node.directory / "instances").iterdir())],
    )
