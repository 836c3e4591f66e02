"""Which workloads may look different after a change of the store, for one client's watch."""

from __future__ import annotations

from collections.abc import Collection

from piccolo.core.model import NodeState
from piccolo.master import keys
from piccolo.master.api_server.workload_views import WorkloadViews
from piccolo.master.cluster import Cluster
from piccolo.rpc import wire


class WatchedWorkloads:
    """Objects are named by their keys, as `Watcher` wants it."""

    def __init__(self, cluster: Cluster, views: WorkloadViews, request: wire.WatchRequest) -> None:
        """Raises `InvalidSpec` for a selector that is not understood."""
        self._c = cluster
        self._views = views
        self._names = frozenset(request.names)
        self._selector = views.selector(request.filter)
        self._node = cluster.state.find_node(request.node).id if request.node else ""
        self._nodes: dict[str, tuple[bool, bool]] = {}  # as they were when last looked at

    def listed(self) -> list[str]:
        names = self._c.state.declared().keys()
        return [keys.workload(name) for name in names if self._asked(name)]

    def touched(self, key: str) -> list[str]:
        """Heartbeats and the like touch none."""
        if key.startswith((keys.WORKLOAD, keys.UNPLACED)):
            names: Collection[str] = [key.partition("/")[2]]
        elif name := keys.workload_of(key):
            names = [name]
        elif key.startswith((keys.STATUS, keys.LIVE)):
            names = self._on_node(key.partition("/")[2])
        else:
            names = ()
        return [keys.workload(name) for name in names if self._asked(name)]

    def _asked(self, name: str) -> bool:
        return not self._names or name in self._names

    def _on_node(self, node_id: str) -> Collection[str]:
        """Those with an instance there, when it came, went, or became ready."""
        state = self._c.state
        ready = state.status(node_id).state is NodeState.READY
        now = ready, state.live(node_id).connected
        before = self._nodes.get(node_id)
        self._nodes[node_id] = now
        if now == before:
            return ()
        there = {a.workload for a in state.assignments(node_id)}
        return sorted(there | {s.workload for s in state.seen(node_id).values()})

    def object(self, key: str) -> wire.WatchResponse | None:
        """As it is now, if the client asked for it."""
        declared = self._c.state.workload(key.partition("/")[2])
        if declared is None:
            return None
        workload = self._views.workload(declared)
        here = not self._node or any(i.node_id == self._node for i in workload.instances)
        if not here or not self._views.selected(self._selector, workload):
            return None
        return wire.WatchResponse(workload=workload)
