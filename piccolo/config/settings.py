"""What a master and an agent work by: defaults, file, environment and command line, resolved.

Plain frozen values of the standard library. The agent process is started lean, without pydantic
and YAML: a process that has them validates, and hands the result over as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from piccolo.core.address import INSTALL_PORT
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.nodes.shortage import Thresholds


class Discovery(StrEnum):
    """Who may join without being approved (N2)."""

    LISTED = "listed"  # nodes in node.yaml only
    CLOUD = "cloud"  # these, and all cloud nodes
    ANY = "any"  # everyone


@dataclass(frozen=True, slots=True)
class AgentSettings:
    masters: tuple[str, ...]  # "host:port", at least one, in the order to try them
    name: str  # RFC 1123 label
    data_dir: str  # absolute path
    role: NodeRole = NodeRole.SUB
    type: NodeType = NodeType.EMBEDDED
    link: str = "wired"  # a name in piccolo.core.nodes.liveness.PROFILES
    labels: Mapping[str, str] = field(default_factory=dict)
    podman_socket: str | None = None  # absolute path; None: the runtime looks for it
    token: str = field(default="", repr=False)  # to join with; empty: none
    ca_pin: str = ""  # fingerprint of the cluster's authority; empty: the token's, or none
    collection_interval: float = 5.0  # s between two samples of usage
    log_level: str = "info"  # debug | info | warning | error
    log_format: str = "text"  # text | json

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> AgentSettings:
        """What `to_json` gave. Raises `InvalidSpec` for anything else."""
        try:
            raw: dict[str, Any] = json.loads(text)
            if set(raw) != {f.name for f in fields(cls)}:
                raise ValueError("other fields than this version has")
            raw["masters"] = tuple(raw["masters"])
            raw["role"] = NodeRole(raw["role"])
            raw["type"] = NodeType(raw["type"])
            return cls(**raw)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidSpec(
                f"these are not the settings of an agent of this version: {error}"
            ) from None


@dataclass(frozen=True, slots=True)
class ListedNode:
    """A node as `node.yaml` lists it."""

    name: str
    ip: str = ""  # shortest spelling; empty: not fixed
    role: NodeRole = NodeRole.SUB
    type: NodeType = NodeType.EMBEDDED
    link: str = "wired"
    labels: Mapping[str, str] = field(default_factory=dict)
    token_id: str = ""  # the only token that lets it in; empty: any
    key_fingerprint: str = ""  # "SHA256:…" of the only key that is let in, without a token


@dataclass(frozen=True, slots=True)
class Retention:
    """How long events are kept; the stricter of both holds."""

    events_max: int = 1000
    events_max_age: float = 7 * 86400.0  # s


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    san: tuple[str, ...] = ()  # further names and addresses for the master's certificate
    certificate_lifetime: float = 30 * 86400.0  # s, of nodes and of the master
    expired_grace: float = 30 * 86400.0  # s after its end that a node may still renew its own
    overlap: float = 30 * 86400.0  # s that a replaced authority is trusted


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """The audit trail: see docs/audit.md."""

    max_file_size: int = 1 << 20  # bytes; then a new file is begun
    files: int = 8  # so many are kept
    reads: bool = False  # also what people only look at


@dataclass(frozen=True, slots=True)
class InstallSettings:
    """How machines that are to join get the program from the master."""

    listen: str = f"0.0.0.0:{INSTALL_PORT}"  # "host:port", HTTPS; port 0: any free one
    directory: str = "/opt/piccolo/bundles"  # absolute path; nothing there: nothing is served


@dataclass(frozen=True, slots=True)
class MasterSettings:
    data_dir: str  # absolute path
    cluster_name: str = "piccolo"
    discovery: Discovery = Discovery.ANY
    listen: str = "0.0.0.0:50051"  # "host:port"; gRPC on TCP, pulses on UDP; port 0: any free one
    store: str = field(default="sqlite", repr=False)  # "sqlite" | "etcd://…", maybe with a password
    encrypt: str = "secrets"  # "secrets" | "all": which values of the store are encrypted
    heartbeat_interval: float = 10.0  # s (HLD 8.1)
    heartbeat_misses: int = 3  # so many missing in a row: NotReady
    reconnect_grace: float = 1.5  # s from a closed connection to NotReady
    thresholds: Thresholds = field(default_factory=Thresholds)
    retention: Retention = field(default_factory=Retention)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    install: InstallSettings = field(default_factory=InstallSettings)
    nodes: tuple[ListedNode, ...] = ()
    rebuild: float = 0.0  # s; with an empty store: so long for nodes to bring what they hold
    log_level: str = "info"
    log_format: str = "text"
