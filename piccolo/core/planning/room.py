"""Room: what is set aside on one node, by whom, and what is in the way of whom.

A copy that is changed on its node has what it had before until its agent has taken that down. This
is in the way of whatever starts there, and of other changes; what it needs now is set aside too.
"""

from __future__ import annotations

from dataclasses import dataclass

from piccolo.core.planning.candidate import Candidate
from piccolo.core.planning.needs import NOTHING, Needs, overlap
from piccolo.core.workloads.containers import Protocol

_Ports = dict[tuple[Protocol, int], list[tuple[str, str]]]  # address and key


@dataclass(slots=True)
class _Share:
    """What one instance has taken. `leaving`: until it has been stopped."""

    workload: str
    needs: Needs
    leaving: bool


class Room:
    """See `Places`."""

    __slots__ = (
        "_all_still",
        "_copies",
        "_cpu",
        "_memory",
        "_ports",
        "_shares",
        "_still",
        "_still_ports",
        "node",
    )

    def __init__(self, node: Candidate) -> None:
        self.node = node
        self._shares: dict[str, _Share] = {}  # by key of the instance
        self._still: dict[str, Needs] = {}  # what is on top of the share until it is changed
        self._all_still = NOTHING  # but for ports
        self._still_ports: _Ports = {}
        self._copies: dict[str, int] = {}  # by workload
        self._cpu = self._memory = 0
        self._ports: _Ports = {}

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

    def still(self, key: str, needs: Needs) -> None:
        self._still[key] = needs
        total = self._all_still
        self._all_still = Needs(total.cpu + needs.cpu, total.memory + needs.memory)
        for protocol, number, address in needs.ports:
            self._still_ports.setdefault((protocol, number), []).append((address, key))

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
                if not gone and overlap(address, taken):
                    return f"has its port {number}/{protocol} taken by {other}"
        return ""

    def waits_for(self, key: str, needs: Needs) -> set[str]:
        """See `Places.waits_for`."""
        if not self._still:
            return set()
        found = {
            other
            for protocol, number, address in needs.ports
            for taken, other in self._still_ports.get((protocol, number), ())
            if overlap(address, taken)
        }
        has, share, still = self.node.resources, self._shares.get(key), self._still.get(key)
        own = (share.needs if share else NOTHING) + (still or NOTHING)
        memory = self._memory + self._all_still.memory - own.memory + needs.memory
        if needs.memory and has.memory_mb and memory > has.memory_mb << 20:
            found |= {k for k, still in self._still.items() if still.memory}
        cpu = self._cpu + self._all_still.cpu - own.cpu + needs.cpu
        if needs.cpu and has.cpu_cores and cpu > has.cpu_cores * 1000:
            found |= {k for k, still in self._still.items() if still.cpu}
        return found - {key}

    def rank(self, workload: str) -> tuple[int, float, int, str]:
        """The lower, the better."""
        has = self.node.resources
        memory = self._memory / (has.memory_mb << 20) if has.memory_mb else 0.0
        cpu = self._cpu / (has.cpu_cores * 1000) if has.cpu_cores else 0.0
        copies = self._copies.get(workload, 0)
        return copies, max(memory, cpu), len(self._shares), self.node.name


def _mib(size: int) -> str:
    return f"{size / 2**20:.4g}"
