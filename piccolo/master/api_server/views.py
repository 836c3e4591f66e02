"""Objects as clients see them: what is kept and what is live, put together and selected."""

from __future__ import annotations

from collections.abc import Iterator

from piccolo.core import selectors
from piccolo.core.model import Container, Node, NodeState, Topology
from piccolo.core.security.access import Principal, Role
from piccolo.master import keys
from piccolo.master.cluster import Cluster
from piccolo.rpc import convert, wire

_NODE_FIELDS = frozenset({"name", "id", "status", "role", "type", "ip", "arch", "connected"})
_CONTAINER_FIELDS = frozenset({"name", "id", "state", "health", "image", "node"})


class Views:
    def __init__(self, cluster: Cluster) -> None:
        self._c = cluster

    # ---- nodes ----

    def node(self, node: Node) -> wire.Node:
        state = self._c.state
        certificates = self._c.certificates
        trusted = certificates.trust.fingerprints
        held = [c for c in certificates.of(Principal(Role.AGENT, node.id)) if c.issuer in trusted]
        return convert.node_to_wire(
            node,
            state.status(node.id),
            state.live(node.id),
            state.revision_of(keys.node(node.id)),
            held[0].not_after if held else None,
        )

    def node_selector(self, text: str) -> selectors.Selector:
        return selectors.parse(text, _NODE_FIELDS)

    def node_selected(self, selector: selectors.Selector, node: Node) -> bool:
        status = self._c.state.status(node.id)
        return selector(
            node.labels,
            {
                "name": node.name,
                "id": node.id,
                "status": status.state,
                "role": node.role,
                "type": node.type,
                "ip": status.ip,
                "arch": status.facts.architecture,
                "connected": str(self._c.state.live(node.id).connected).lower(),
            },
        )

    def nodes(self, text: str = "") -> list[wire.Node]:
        selector = self.node_selector(text)
        return [self.node(n) for n in self._c.state.nodes() if self.node_selected(selector, n)]

    # ---- containers ----

    def container(self, node: Node, container: Container) -> wire.Container:
        usage = next((u for u in self._c.state.usage(node.id) if u.id == container.id), None)
        return wire.Container(
            node_id=node.id,
            node_name=node.name,
            status=convert.container_to_wire(container),
            usage=convert.container_usage_to_wire(usage) if usage else None,
            stale=not self._c.state.live(node.id).connected,
        )

    def container_selector(self, text: str) -> selectors.Selector:
        return selectors.parse(text, _CONTAINER_FIELDS)

    def container_selected(
        self, selector: selectors.Selector, node: Node, container: Container
    ) -> bool:
        return selector(
            container.labels,
            {
                "name": container.name,
                "id": container.id,
                "state": container.state,
                "health": container.health,
                "image": container.image,
                "node": node.name,
            },
        )

    def containers(self, name_or_id: str, text: str) -> Iterator[wire.Container]:
        selector = self.container_selector(text)
        state = self._c.state
        for node in [state.find_node(name_or_id)] if name_or_id else state.nodes():
            for container in sorted(state.containers(node.id), key=lambda c: c.name):
                if self.container_selected(selector, node, container):
                    yield self.container(node, container)

    def running(self) -> tuple[int, int]:
        """How many containers run, and how many there are."""
        found = [c for n in self._c.state.nodes() for c in self._c.state.containers(n.id)]
        return sum(c.state == "running" for c in found), len(found)

    # ---- topology ----

    def topology(self) -> wire.ClusterTopology:
        topology = self._c.state.get(keys.TOPOLOGY, Topology) or Topology(self._c.id, self._c.name)
        members = [
            self.node(n)
            for n in self._c.state.nodes()
            if self._c.state.status(n.id).state not in (NodeState.PENDING, NodeState.TERMINATING)
        ]
        return convert.topology_to_wire(topology, members, self._c.state.revision_of(keys.TOPOLOGY))
