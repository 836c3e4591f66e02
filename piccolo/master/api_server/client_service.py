"""ApiServerService (HLD 7.1.1): what clients ask and change."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace

from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from piccolo.core.model import NodeLive, Topology
from piccolo.core.selectors import check_labels
from piccolo.master import keys
from piccolo.master.api_server.audit_calls import AuditCalls
from piccolo.master.api_server.backup_calls import BackupCalls
from piccolo.master.api_server.documents import Documents
from piccolo.master.api_server.joining import register
from piccolo.master.api_server.secret_calls import SecretCalls
from piccolo.master.api_server.security_calls import SecurityCalls
from piccolo.master.api_server.views import Views
from piccolo.master.api_server.watching import Watcher
from piccolo.master.api_server.workload_calls import WorkloadCalls
from piccolo.master.api_server.workload_views import WorkloadViews
from piccolo.master.cluster import Cluster
from piccolo.rpc import convert, wire
from piccolo.rpc.server import concerns
from piccolo.runtime.own import resident_kb

_CHECK_TIMEOUT = 5.0  # s
_CHECK_TIMEOUT_MAX = 60.0
_RECENT_EVENTS = 8


class ClientService(
    AuditCalls, BackupCalls, SecurityCalls, SecretCalls, WorkloadCalls, wire.ApiServerServiceBase
):
    def __init__(self, cluster: Cluster) -> None:
        self._c = cluster
        self._views = Views(cluster)
        self._documents = Documents(cluster)
        self._workloads = WorkloadViews(cluster, self._views)

    # ---- reading ----

    async def get_nodes(self, message: wire.GetNodesRequest) -> wire.GetNodesResponse:
        return wire.GetNodesResponse(
            nodes=self._views.nodes(message.filter or ""), view=self._c.view()
        )

    async def get_node(self, message: wire.GetNodeRequest) -> wire.GetNodeResponse:
        node = self._c.state.find_node(message.node_id)
        return wire.GetNodeResponse(node=self._views.node(node), view=self._c.view())

    async def get_containers(
        self, message: wire.GetContainersRequest
    ) -> wire.GetContainersResponse:
        found = list(self._views.containers(message.node, message.filter))
        return wire.GetContainersResponse(containers=found, view=self._c.view())

    async def get_events(self, message: wire.GetEventsRequest) -> wire.GetEventsResponse:
        name = self._c.state.find_node(message.node).name if message.node else ""
        events = self._c.events.newest(message.limit, name)
        return wire.GetEventsResponse(
            events=[convert.event_to_wire(e) for e in events], view=self._c.view()
        )

    async def get_cluster_status(
        self, message: wire.GetClusterStatusRequest
    ) -> wire.GetClusterStatusResponse:
        running, total = self._views.running()
        return wire.GetClusterStatusResponse(
            cluster=self._c.info(),
            view=self._c.view(),
            started_at=self._c.started_at,
            store=self._c.store,
            nodes=self._views.nodes(),
            containers_running=running,
            containers_total=total,
            recent_events=[convert.event_to_wire(e) for e in self._c.events.newest(_RECENT_EVENTS)],
            master_resident_kb=resident_kb(),
            workloads_total=len(self._c.state.declared()),
            workloads_in_trouble=self._workloads.in_trouble(),
            rebuilding=self._c.restored.waits_for,
        )

    def watch(self, message: wire.WatchRequest) -> AsyncIterator[wire.WatchResponse]:
        return Watcher(self._c, self._views, self._workloads, message).responses()

    # ---- topology ----

    async def get_topology(self, message: wire.GetTopologyRequest) -> wire.GetTopologyResponse:
        return wire.GetTopologyResponse(topology=self._views.topology(), view=self._c.view())

    async def update_topology(
        self, message: wire.UpdateTopologyRequest
    ) -> wire.UpdateTopologyResponse:
        """Name, type, parent and configuration. Members change by joining and by removal."""
        wanted = message.topology
        concerns("topology")
        if wanted is None:
            raise InvalidSpec("the request has no topology")
        if wanted.master_nodes or wanted.sub_nodes:
            raise InvalidSpec(
                "members cannot be set: nodes join by their agents and leave by"
                " `piccolo remove node`; send the topology without them"
            )
        current = self._c.state.get(keys.TOPOLOGY, Topology) or Topology(self._c.id, self._c.name)
        check_labels(wanted.config)
        changed = replace(
            current,
            name=wanted.name or current.name,
            type=convert.topology_type_from_wire(wanted.type),
            parent_cluster=wanted.parent_cluster,
            config=dict(wanted.config),
        )
        known = self._c.state.revision_of(keys.TOPOLOGY)
        if wanted.revision not in (0, known):
            raise Conflict(
                f"the topology was changed meanwhile (revision {known}, you have"
                f" {wanted.revision}); read it again"
            )
        await self._c.state.commit({keys.TOPOLOGY: changed}, {keys.TOPOLOGY: known})
        return wire.UpdateTopologyResponse(updated_topology=self._views.topology(), success=True)

    # ---- nodes ----

    async def register_node(
        self, message: wire.NodeRegistrationRequest
    ) -> wire.NodeRegistrationResponse:
        return await register(self._c, message)

    async def approve_node(self, message: wire.ApproveNodeRequest) -> wire.ApproveNodeResponse:
        concerns(f"node {message.node}")
        node = await self._c.nodes.approve(message.node)
        return wire.ApproveNodeResponse(node=self._views.node(node))

    async def label_node(self, message: wire.LabelNodeRequest) -> wire.LabelNodeResponse:
        concerns(f"node {message.node}")
        node = await self._c.nodes.label(
            message.node, message.set, message.remove, message.overwrite
        )
        return wire.LabelNodeResponse(node=self._views.node(node))

    async def remove_node(self, message: wire.RemoveNodeRequest) -> wire.RemoveNodeResponse:
        concerns(f"node {message.node}")
        node, last = await self._c.remove(message.node)
        return wire.RemoveNodeResponse(node=convert.node_to_wire(node, last, NodeLive(), 0))

    async def check_node(self, message: wire.CheckNodeRequest) -> wire.CheckNodeResponse:
        """Ask the agent itself, now (N7, LLD 2.3.1 check_nodeagent_connection)."""
        node = self._c.state.find_node(message.node)
        timeout = min(_CHECK_TIMEOUT_MAX, message.timeout_ms / 1000 or _CHECK_TIMEOUT)
        trace_id = f"check-{node.name}-{time.monotonic_ns():x}"
        began = time.monotonic()
        try:
            result = await self._c.sessions.call(
                node.id,
                lambda: wire.Call(trace_id=trace_id, health=wire.HealthCheck()),
                timeout,
            )
        except Unavailable as error:
            return wire.CheckNodeResponse(healthy=False, message=str(error))
        took = (time.monotonic() - began) * 1000
        health = result.health
        if result.error or health is None:
            return wire.CheckNodeResponse(healthy=False, message=result.error, round_trip_ms=took)
        return wire.CheckNodeResponse(
            healthy=True,
            message="the agent answers"
            if health.runtime_ready
            else f"the agent answers, but: {health.runtime_message}",
            round_trip_ms=took,
            health=health,
        )
