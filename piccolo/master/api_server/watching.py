"""One client's watch: list, then follow the store's changes; after falling behind, list again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace

from piccolo.core.errors import Compacted, InvalidSpec
from piccolo.core.model import Container, Event, Node
from piccolo.master import keys
from piccolo.master.api_server.views import Views
from piccolo.master.api_server.watched_workloads import WatchedWorkloads
from piccolo.master.api_server.workload_views import WorkloadViews
from piccolo.master.cluster import Cluster
from piccolo.master.rounds import Slices
from piccolo.rpc import convert, wire

_PREFIX = {
    wire.WatchKind.NODE: keys.ALL_OF_NODES,
    wire.WatchKind.CONTAINER: "",
    wire.WatchKind.EVENT: keys.EVENT,
    wire.WatchKind.TOPOLOGY: "",
    wire.WatchKind.WORKLOAD: "",
}


class Watcher:
    """Remembers what the client has been sent, so that it hears of every change once, and of
    objects that left its selection as deleted."""

    def __init__(
        self, cluster: Cluster, views: Views, workloads: WorkloadViews, request: wire.WatchRequest
    ) -> None:
        """Raises `InvalidSpec` for an unknown kind or selector, `NotFound` for an unknown node."""
        if request.kind not in _PREFIX:
            raise InvalidSpec(f"cannot watch kind {int(request.kind)}")
        self._c = cluster
        self._views = views
        self._kind = request.kind
        self._usage = request.usage
        self._node = cluster.state.find_node(request.node).id if request.node else ""
        self._workloads: WatchedWorkloads | None = None
        if request.kind == wire.WatchKind.WORKLOAD:
            self._workloads = WatchedWorkloads(cluster, workloads, request)
        elif request.kind == wire.WatchKind.CONTAINER:
            self._selector = views.container_selector(request.filter)
        else:
            self._selector = views.node_selector(request.filter)
        self._sent: dict[str, wire.WatchResponse] = {}

    async def responses(self) -> AsyncIterator[wire.WatchResponse]:
        """For ever. While a list of hundreds is sent, which takes seconds, others have their turns;
        what changes meanwhile comes after it."""
        slices = Slices(self._c.clock.monotonic)
        while True:
            revision = self._c.state.revision
            for response in self._listed():
                yield response
                await slices.next()
            yield wire.WatchResponse(type=wire.ChangeType.SYNCED, view=self._c.view())
            changes = self._c.state.changes(_PREFIX[self._kind], revision)
            try:
                async with aclosing(changes):
                    async for change in changes:
                        if self._is_heartbeat(change.key):
                            continue
                        for key in self._touched(change.key):
                            for response in self._changed(key):
                                yield response
                                await slices.next()
            except Compacted:
                self._sent.clear()
                yield wire.WatchResponse(type=wire.ChangeType.RESYNC, view=self._c.view())

    def _listed(self) -> Iterator[wire.WatchResponse]:
        """In the order in which the lists of the same kinds are."""
        state = self._c.state
        if self._workloads is not None:
            found = self._workloads.listed()
        elif self._kind == wire.WatchKind.TOPOLOGY:
            found = [keys.TOPOLOGY]
        elif self._kind == wire.WatchKind.EVENT:
            found = sorted(state.group(keys.EVENT))
        elif self._kind == wire.WatchKind.NODE:
            found = [keys.node(n.id) for n in state.nodes()]
        else:
            found = [
                keys.container(n.id, c.id)
                for n in state.nodes()
                for c in sorted(state.containers(n.id), key=lambda c: c.name)
            ]
        for key in found:
            yield from self._changed(key)

    def _is_heartbeat(self, key: str) -> bool:
        """Whether nothing that the client asked to hear of can have changed. Found out without
        looking at the whole node: a thousand nodes have a hundred heartbeats a second, and each
        client that watches is asked about each of them.
        """
        if self._kind != wire.WatchKind.NODE or self._usage or not key.startswith(keys.LIVE):
            return False
        node_id = key.removeprefix(keys.LIVE)
        sent = self._sent.get(keys.node(node_id))
        if sent is None or sent.node is None or sent.node.link is None:
            return False
        live, link = self._c.state.live(node_id), sent.node.link
        return (live.generation, live.connected, live.suspect, live.datagrams) == (
            sent.node.generation,
            link.connected,
            link.suspect,
            link.datagrams,
        )

    def _touched(self, key: str) -> list[str]:
        """The objects of the watched kind that may look different after a change of `key`."""
        if self._workloads is not None:
            return self._workloads.touched(key)
        of_node = key.partition("/")[2]
        match self._kind:
            case wire.WatchKind.NODE:
                return [keys.node(of_node)]
            case wire.WatchKind.TOPOLOGY:
                of_it = key == keys.TOPOLOGY or key.startswith((keys.NODE, keys.STATUS))
                return [keys.TOPOLOGY] if of_it else []
            case wire.WatchKind.CONTAINER if key.startswith((keys.NODE, keys.LIVE, keys.USAGE)):
                found = self._c.state.containers(of_node)
                return [keys.container(of_node, c.id) for c in found]
            case wire.WatchKind.CONTAINER if not key.startswith(keys.CONTAINER):
                return []
        return [key]

    def _changed(self, key: str) -> Iterator[wire.WatchResponse]:
        """What to send now that the object `key` may have changed; often nothing."""
        new = self._object(key)
        old = self._sent.get(key)
        if new is None:
            if old is not None:
                del self._sent[key]
                old.type = wire.ChangeType.DELETED
                old.view = self._c.view()
                yield old
            return
        if old is not None and self._same(old, new):
            return
        new.type = wire.ChangeType.ADDED if old is None else wire.ChangeType.MODIFIED
        self._sent[key] = new
        new.view = self._c.view()
        yield new

    def _object(self, key: str) -> wire.WatchResponse | None:
        """What stands under `key`, if the client asked for it."""
        state = self._c.state
        if self._workloads is not None:
            return self._workloads.object(key)
        if self._kind == wire.WatchKind.TOPOLOGY:
            return wire.WatchResponse(topology=self._views.topology())
        if self._kind == wire.WatchKind.EVENT:
            event = state.get(key, Event)
            if event is None or (self._node and event.node_name != self._node_name()):
                return None
            return wire.WatchResponse(event=convert.event_to_wire(event))
        node_id = key.split("/")[1]
        node = state.node(node_id)
        if node is None or (self._node and node.id != self._node):
            return None
        if self._kind == wire.WatchKind.NODE:
            if not self._views.node_selected(self._selector, node):
                return None
            return wire.WatchResponse(node=self._views.node(node))
        return self._container(key, node)

    def _container(self, key: str, node: Node) -> wire.WatchResponse | None:
        container = self._c.state.get(key, Container)
        if container is None or not self._views.container_selected(self._selector, node, container):
            return None
        return wire.WatchResponse(container=self._views.container(node, container))

    def _node_name(self) -> str:
        node = self._c.state.node(self._node)
        return node.name if node else ""

    def _same(self, old: wire.WatchResponse, new: wire.WatchResponse) -> bool:
        """Whether nothing changed that the client asked to hear of."""
        if self._usage:
            return _content(old) == _content(new)
        if old.node is not None and new.node is not None:
            return _quiet(old.node) == _quiet(new.node)
        if old.container is not None and new.container is not None:
            return replace(old.container, usage=None) == replace(new.container, usage=None)
        return _content(old) == _content(new)


def _content(response: wire.WatchResponse) -> object:
    return wire.which_one_of(response, "object")[1]


def _quiet(node: wire.Node) -> wire.Node:
    """A node without what changes with every heartbeat."""
    link = node.link
    return wire.Node(
        **{
            field: getattr(node, field)
            for field in node.__dataclass_fields__
            if field not in ("usage", "last_heartbeat", "link")
        },
        link=wire.LinkInfo(connected=link.connected, suspect=link.suspect, datagrams=link.datagrams)
        if link
        else None,
    )
