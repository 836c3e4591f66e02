"""What one copy of a workload sets aside on its node: thousandths of a core and bytes, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from piccolo.core.workloads.containers import Protocol
from piccolo.core.workloads.workload import NetworkMode, Workload

PortNeed = tuple[Protocol, int, str]  # of the node, with the address

_ANY_ADDRESS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Needs:
    cpu: int = 0  # thousandths of a core
    memory: int = 0  # bytes
    ports: tuple[PortNeed, ...] = ()

    def __add__(self, other: Needs) -> Needs:
        return Needs(self.cpu + other.cpu, self.memory + other.memory, self.ports + other.ports)

    def beyond(self, other: Needs) -> Needs:
        """What is in the way of others still, where `other` is in the way already."""
        return Needs(
            max(0, self.cpu - other.cpu),
            max(0, self.memory - other.memory),
            tuple(port for port in self.ports if port not in other.ports),
        )


NOTHING = Needs()


def needs_of(workload: Workload) -> Needs:
    """Containers run together, init containers one after the other, before them."""
    running = [c.resources for c in workload.containers]
    before = [c.resources for c in workload.init_containers]
    cpus = [sum(r.reserved_cpu for r in running), *(r.reserved_cpu for r in before)]
    memory = [sum(r.reserved_memory for r in running), *(r.reserved_memory for r in before)]
    return Needs(round(max(cpus) * 1000), max(memory), tuple(_ports(workload)))


def _ports(workload: Workload) -> Iterable[PortNeed]:
    mode = workload.network.mode
    if mode is NetworkMode.NONE:
        return
    for container in (*workload.containers, *workload.init_containers):
        for port in container.ports:
            if mode is NetworkMode.HOST:
                yield port.protocol, port.container_port, port.host_ip
            elif port.host_port:
                yield port.protocol, port.host_port, port.host_ip


def overlap(one: str, other: str) -> bool:
    """Whether a port cannot be had on both addresses."""
    return one == other or one in _ANY_ADDRESS or other in _ANY_ADDRESS
