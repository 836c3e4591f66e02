"""The simulated cluster as the judge looks at it (`tests.simulation.settled`)."""

from __future__ import annotations

from collections.abc import Iterable

from tests.simulation.pure.agent import Node
from tests.simulation.pure.master import Master
from tests.simulation.settled import NodeView, View


def view_of(master: Master, nodes: Iterable[Node]) -> View:
    record = master.record
    return View(
        [_node(master, node) for node in nodes],
        record.store.workloads,
        list(record.store.assignments.values()),
        record.seen,
        master.controller.plan,
        master.controller.candidates,
        master.specs.of,
        master.specs.missing,
    )


def _node(master: Master, node: Node) -> NodeView:
    agent, runtime = node.agent, node.runtime
    held = {key: h.digest for key, h in agent.desired.held.items()} if agent else None
    return NodeView(
        node.id,
        node.name,
        master.record.statuses[node.id].state,
        held,
        agent.report.digest if agent else 0,
        master.report(node.id).digest,
        runtime.ours,
        lambda: [*runtime.pods, *runtime.scratch, *node.disk.folders],
    )
