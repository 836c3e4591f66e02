"""What is looked at. None everywhere: it could not be found out, or not in time.

A `Site` says what this machine is to be, as its configuration has it; `Facts` are what was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from piccolo.core.address import Address
from piccolo.core.model import NodeRole


@dataclass(frozen=True, slots=True)
class Site:
    """Paths are those of the configuration, without the prefix of another root."""

    role: NodeRole
    source: str  # where this comes from: "/etc/piccolo/nodeagent.yaml"
    data_dir: str
    problem: str = ""  # what is wrong with the configuration; then the rest is defaults
    podman_sockets: tuple[str, ...] = ()  # any of them will do
    masters: tuple[Address, ...] = ()  # of a sub node: addresses of its one master
    listen: Address | None = None  # of a master
    etcd: tuple[Address, ...] = ()  # of a master that keeps its state there


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The one that holds `path`."""

    path: str
    used_percent: float
    inodes_used_percent: float | None  # None: it does not count any
    read_only: bool


@dataclass(frozen=True, slots=True)
class Machine:
    load: float | None  # of the last minute
    cores: int
    memory_available_percent: float | None


@dataclass(frozen=True, slots=True)
class Kernel:
    cgroup_version: int  # 0: there are none
    cgroup_controllers: frozenset[str]
    namespaces: frozenset[str]  # as in /proc/self/ns
    user_namespaces_allowed: bool  # to other users than root
    seccomp: bool
    overlay: bool


@dataclass(frozen=True, slots=True)
class User:
    """Who would run Podman. `subuids`, `subgids`: how many are theirs."""

    name: str
    root: bool
    subuids: int
    subgids: int


@dataclass(frozen=True, slots=True)
class Podman:
    """`version` empty: it did not say. `socket`: the one at which somebody listens."""

    installed: bool
    version: str
    socket: str | None


class Mtu(StrEnum):
    """What became of a packet of 1500 bytes that must not be taken apart."""

    FITS = "fits"
    TOO_BIG = "too big"  # and we were told
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Peer:
    """One address of a master, or of an etcd, as it looks from here."""

    address: Address
    resolves: bool | None = None
    failure: str | None = None  # of connecting; empty: it answers
    ping: bool | None = None
    mtu: Mtu | None = None
    mtu_bytes: int = 0  # with TOO_BIG
    ahead: float | None = None  # s, of our clock

    @property
    def answers(self) -> bool:
        return self.failure == ""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who has the master's port. `owner` empty: that cannot be seen."""

    protocol: str  # "tcp" | "udp"
    owner: str
    ours: bool


@dataclass(frozen=True, slots=True)
class Certificate:
    path: str
    made: float | None  # s since the epoch
    not_after: float | None  # None: it cannot be read


@dataclass(frozen=True, slots=True)
class Facts:
    site: Site
    now: float  # s since the epoch
    machine: Machine | None = None
    disks: tuple[FileSystem, ...] | None = None
    kernel: Kernel | None = None
    user: User | None = None
    podman: Podman | None = None
    peers: tuple[Peer, ...] = ()
    listeners: tuple[Listener, ...] | None = None
    etcd: tuple[Peer, ...] = ()
    certificates: tuple[Certificate, ...] | None = None
