"""The nouns of the cluster (HLD 6.1), as immutable values.

`Node` (asked), `NodeStatus` (seen), `Container`, `Event` and `Topology` are what the store keeps.
`NodeLive` and `ContainerUsage` change all the time and live in the master's memory only, so that
an idle cluster writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class NodeRole(StrEnum):
    MASTER = "master"
    SUB = "sub"


class NodeType(StrEnum):
    EMBEDDED = "embedded"
    CLOUD = "cloud"


class NodeState(StrEnum):
    """HLD 6.2; the legal transitions stand in `piccolo.core.nodes.states`."""

    PENDING = "Pending"
    INITIALIZING = "Initializing"
    READY = "Ready"
    NOT_READY = "NotReady"
    MAINTENANCE = "Maintenance"
    TERMINATING = "Terminating"


class TopologyType(StrEnum):
    """LLD 3.4."""

    BASIC_EMBEDDED = "basic-embedded"
    EDGE_CLOUD_HYBRID = "edge-cloud-hybrid"
    MULTI_CLUSTER = "multi-cluster"
    GEO_DISTRIBUTED = "geo-distributed"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a machine has."""

    cpu_cores: int = 0
    memory_mb: int = 0
    disk_gb: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a machine uses now. Percentages are 0..100; byte counters count since boot."""

    cpu_percent: float = 0.0
    memory_used_mb: int = 0
    memory_available_percent: float = 100.0
    disk_used_percent: float = 0.0
    load_per_core: float = 0.0
    network_rx_bytes: int = 0
    network_tx_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a machine is."""

    os: str = ""
    architecture: str = ""
    kernel: str = ""
    agent_version: str = ""
    runtime_version: str = ""
    machine_id: str = ""
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """A finding about a node that holds or does not hold, with the time it last changed."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A member of the cluster, as it is meant to be. Changed on request only, durably."""

    id: str
    name: str
    role: NodeRole = NodeRole.SUB
    type: NodeType = NodeType.EMBEDDED
    labels: Mapping[str, str] = field(default_factory=dict)
    told_labels: Mapping[str, str] = field(default_factory=dict)  # by the agent, when it came last
    link_profile: str = "wired"
    created_at: datetime | None = None
    admitted: bool = False


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A member of the cluster, as it was last seen."""

    state: NodeState = NodeState.PENDING
    reason: str = ""  # of the last transition
    message: str = ""
    since: datetime | None = None
    ip: str = ""
    resources: Resources = field(default_factory=Resources)
    facts: Facts = field(default_factory=Facts)
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeLive:
    """What only memory holds of a node: it changes with every heartbeat."""

    connected: bool = False
    suspect: bool = False
    datagrams: bool = False
    round_trip_ms: float = 0.0
    peer: str = ""
    generation: int = 0  # of the current or last session
    usage: Usage | None = None
    last_heartbeat: datetime | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the runtime of its node reports it. Times are the runtime's."""

    id: str
    name: str
    image: str = ""
    state: str = ""
    health: str = ""
    exit_code: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    restarts: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    pod: str = ""


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """What a container uses now; `cpu_percent` is of one core."""

    id: str
    cpu_percent: float = 0.0
    memory_bytes: int = 0
    network_rx_bytes: int = 0
    network_tx_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for people to read."""

    id: str
    time: datetime
    severity: Severity
    kind: str
    subject: str
    reason: str
    message: str
    node_name: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """The cluster as a whole (HLD 6.1); its member nodes are the nodes themselves."""

    id: str
    name: str
    type: TopologyType = TopologyType.BASIC_EMBEDDED
    parent_cluster: str = ""
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenUse:
    """A node that joined by a token: with the same key it may ask again, should a reply be lost."""

    node_id: str
    node_name: str
    fingerprint: str  # of its public key


@dataclass(frozen=True, slots=True)
class Token:
    """A join token; see `core.security.token`."""

    id: str
    hash: str = field(repr=False)  # of the secret
    created_at: datetime
    expires_at: datetime
    uses: int = 1  # how often it may be used
    node: str = ""  # the name of the only node it lets in; empty: any
    type: NodeType | None = None  # the only type it lets in; None: any
    created_by: str = ""
    revoked_at: datetime | None = None
    pin: str = ""  # fingerprint of the authority that it makes a node trust


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that the cluster's authority signed, and what became of it."""

    serial: str  # hexadecimal
    role: str  # a `core.security.access.Role`
    name: str  # of the client, or the id of the node
    fingerprint: str  # of its public key
    not_before: datetime  # when it was made
    not_after: datetime
    issuer: str  # fingerprint of the authority's certificate
    revoked_at: datetime | None = None
    revoked_reason: str = ""


@dataclass(frozen=True, slots=True)
class Authorities:
    """The authorities that a cluster trusts, by the fingerprints of their certificates."""

    current: str
    retiring: Mapping[str, datetime] = field(default_factory=dict)  # replaced; until when trusted


@dataclass(frozen=True, slots=True)
class Secret:
    """A named set of values that nobody is to see; see `master.security.secrets`."""

    name: str
    data: Mapping[str, str] = field(repr=False)  # base64 (RFC 4648)
    created_at: datetime
    changed_at: datetime
