"""Placement: on which node a copy of a workload may run, and on which it runs best.

Pure, and the same for the same input. What is set aside is counted exactly, in thousandths of a
core and bytes. Where no node will do, every node gets its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from piccolo.core import words
from piccolo.core.model import NodeRole, NodeType, Resources
from piccolo.core.workloads.containers import Protocol
from piccolo.core.workloads.workload import NetworkMode, Placement, Workload

_ANY_ADDRESS = ("", "0.0.0.0", "::")
_NAMES = 3  # of nodes with the same reason, in a message
_REASONS = 4  # in a message


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node, as far as placement is concerned."""

    node_id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    role: NodeRole = NodeRole.SUB
    type: NodeType = NodeType.EMBEDDED
    resources: Resources = field(default_factory=Resources)
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Needs:
    """What one copy sets aside on its node."""

    cpu: int = 0  # thousandths of a core
    memory: int = 0  # bytes
    ports: tuple[tuple[Protocol, int, str], ...] = ()  # of the node, with the address


def needs_of(workload: Workload) -> Needs:
    """Containers run together, init containers one after the other, before them."""
    running = [c.resources for c in workload.containers]
    before = [c.resources for c in workload.init_containers]
    cpus = [sum(r.reserved_cpu for r in running), *(r.reserved_cpu for r in before)]
    memory = [sum(r.reserved_memory for r in running), *(r.reserved_memory for r in before)]
    return Needs(round(max(cpus) * 1000), max(memory), tuple(_ports(workload)))


def _ports(workload: Workload) -> Iterable[tuple[Protocol, int, str]]:
    mode = workload.network.mode
    if mode is NetworkMode.NONE:
        return
    for container in (*workload.containers, *workload.init_containers):
        for port in container.ports:
            if mode is NetworkMode.HOST:
                yield port.protocol, port.container_port, port.host_ip
            elif port.host_port:
                yield port.protocol, port.host_port, port.host_ip


def mismatch(placement: Placement, node: Candidate) -> str:
    """Why placement keeps a workload off a node; empty: it does not."""
    if placement.nodes and node.name not in placement.nodes:
        return "is not among placement.nodes"
    for key, value in placement.labels.items():
        found = node.labels.get(key)
        if found is None:
            return f"has no label {key}"
        if found != value:
            return f"has the label {key}={found}, not {value}"
    if placement.type is not None and node.type is not placement.type:
        return f"is of type {node.type}, not {placement.type}"
    if placement.role is not None and node.role is not placement.role:
        return f"has the role {node.role}, not {placement.role}"
    return ""


@dataclass(slots=True)
class _Share:
    """What one instance has taken. `leaving`: until it has been stopped."""

    workload: str
    needs: Needs
    leaving: bool


class _Room:
    """What is set aside on one node, by whom."""

    __slots__ = ("_copies", "_cpu", "_memory", "_ports", "_shares", "node")

    def __init__(self, node: Candidate) -> None:
        self.node = node
        self._shares: dict[str, _Share] = {}  # by key of the instance
        self._copies: dict[str, int] = {}  # by workload
        self._cpu = self._memory = 0
        self._ports: dict[tuple[Protocol, int], list[tuple[str, str]]] = {}  # address and key

    def take(self, key: str, workload: str, needs: Needs, *, leaving: bool = False) -> None:
        self._drop(key)
        self._shares[key] = _Share(workload, needs, leaving)
        self._copies[workload] = self._copies.get(workload, 0) + 1
        self._cpu += needs.cpu
        self._memory += needs.memory
        for protocol, number, address in needs.ports:
            self._ports.setdefault((protocol, number), []).append((address, key))

    def _drop(self, key: str) -> None:
        share = self._shares.pop(key, None)
        if share is None:
            return
        self._copies[share.workload] -= 1
        self._cpu -= share.needs.cpu
        self._memory -= share.needs.memory
        for protocol, number, address in share.needs.ports:
            self._ports[protocol, number].remove((address, key))

    def leave(self, key: str) -> None:
        if key in self._shares:
            self._shares[key].leaving = True

    def lacks(self, key: str, needs: Needs, *, later: bool = False) -> str:
        """See `Places.lacks`."""
        cpu, memory = self._cpu, self._memory
        for other in self._shares if later else (key,):
            share = self._shares.get(other)
            if share is not None and (other == key or share.leaving):
                cpu -= share.needs.cpu
                memory -= share.needs.memory
        has = self.node.resources
        if needs.memory and has.memory_mb and memory + needs.memory > has.memory_mb << 20:
            free = max(0, (has.memory_mb << 20) - memory)
            return f"has {_mib(free)} MiB of memory left, {_mib(needs.memory)} are needed"
        if needs.cpu and has.cpu_cores and cpu + needs.cpu > has.cpu_cores * 1000:
            free = max(0, has.cpu_cores * 1000 - cpu)
            return f"has {free / 1000:g} cores left, {needs.cpu / 1000:g} are needed"
        for protocol, number, address in needs.ports:
            for taken, other in self._ports.get((protocol, number), ()):
                gone = other == key or (later and self._shares[other].leaving)
                if not gone and (address == taken or _everywhere(address) or _everywhere(taken)):
                    return f"has its port {number}/{protocol} taken by {other}"
        return ""

    def rank(self, workload: str) -> tuple[int, float, int, str]:
        """The lower, the better."""
        has = self.node.resources
        memory = self._memory / (has.memory_mb << 20) if has.memory_mb else 0.0
        cpu = self._cpu / (has.cpu_cores * 1000) if has.cpu_cores else 0.0
        copies = self._copies.get(workload, 0)
        return copies, max(memory, cpu), len(self._shares), self.node.name


def _everywhere(address: str) -> bool:
    return address in _ANY_ADDRESS


def _mib(size: int) -> str:
    return f"{size / 2**20:.4g}"


class Places:
    """All nodes, and what is set aside on them."""

    def __init__(self, nodes: Iterable[Candidate]) -> None:
        """`nodes` in the order in which messages name them."""
        self._rooms = {node.node_id: _Room(node) for node in nodes}

    def take(
        self, node_id: str, key: str, workload: str, needs: Needs, *, leaving: bool = False
    ) -> None:
        self._rooms[node_id].take(key, workload, needs, leaving=leaving)

    def leave(self, node_id: str, key: str) -> None:
        """It is about to be stopped, and in the way until then."""
        self._rooms[node_id].leave(key)

    def lacks(self, node_id: str, key: str, needs: Needs, *, later: bool = False) -> str:
        """Why an instance does not fit there; empty: it does. What it has itself is not in its
        way, nor, `later`, what is about to be stopped."""
        return self._rooms[node_id].lacks(key, needs, later=later)

    def best(
        self,
        key: str,
        workload: str,
        needs: Needs,
        among: Iterable[Candidate],
        *,
        away: bool = False,
    ) -> Candidate | None:
        """The node where a copy runs best: apart from others of its workload first.

        Nodes that are not ready are out of the question, but for those that wait for them, `away`.
        """
        rooms = (self._rooms[n.node_id] for n in among if n.ready or away)
        fitting = [room for room in rooms if not room.lacks(key, needs)]
        return min(fitting, key=lambda room: room.rank(workload)).node if fitting else None

    def soon(self, key: str, needs: Needs, among: Iterable[Candidate]) -> bool:
        """Whether a ready node will do once what is about to be stopped there has ended."""
        return any(n.ready and not self.lacks(n.node_id, key, needs, later=True) for n in among)

    def refusals(
        self,
        key: str,
        needs: Needs,
        placement: Placement,
        among: Iterable[Candidate] | None = None,
    ) -> str:
        """Why no node will do, or none of these, with the same reasons put together."""
        nodes = [room.node for room in self._rooms.values()]
        if not nodes:
            return "the cluster has no nodes"
        known = {n.name for n in nodes}
        unknown = [name for name in placement.nodes if name not in known]
        reasons: dict[str, list[str]] = {}
        for node in nodes if among is None else among:
            if placement.nodes and node.name not in placement.nodes:
                continue
            why = mismatch(placement, node) or self.lacks(node.node_id, key, needs)
            if why or not node.ready:
                reasons.setdefault(why or "is not ready", []).append(node.name)
        return "; ".join(filter(None, (_unknown(unknown), _in_short(reasons))))


def _unknown(names: Sequence[str]) -> str:
    if not names:
        return ""
    what = "is no node" if len(names) == 1 else "are no nodes"
    quoted = [f'"{name}"' for name in names]
    return f"{words.some(quoted, _NAMES)} {what} of the cluster"


def _in_short(reasons: Mapping[str, Sequence[str]]) -> str:
    parts: list[str] = []
    for why, names in list(reasons.items())[:_REASONS]:
        parts.append(f"{words.some(names, _NAMES)}: {why if len(names) == 1 else _plural(why)}")
    if left := sum(len(names) for names in list(reasons.values())[_REASONS:]):
        parts.append(f"and {left} more")
    return "; ".join(parts)


def _plural(why: str) -> str:
    """What is said of one node, of several."""
    for one, several in _PLURALS.items():
        if why.startswith(one):
            return several + why.removeprefix(one)
    return why


_PLURALS = {"has its ": "have their ", "has ": "have ", "is ": "are "}
