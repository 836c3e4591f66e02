"""What `node.yaml`, the master's file (LLD 3.2.1), and the command line may say.

`docs/configuration.md` describes every key.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from piccolo.config.document import Path as KeyPath
from piccolo.config.fields import (
    AbsolutePath,
    Encrypt,
    Fingerprint,
    Ip,
    Labels,
    Link,
    Listen,
    LocalPath,
    LogFormat,
    LogLevel,
    Name,
    Percent,
    Role,
    San,
    Store,
    Strict,
    TokenId,
    Type,
    between,
    raise_problems,
    sized,
)
from piccolo.config.settings import (
    Discovery,
    ListedNode,
    MasterSettings,
)
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.words import show

DEFAULT = MasterSettings(data_dir="")
_DAY = 86400.0

DiscoveryField = Annotated[Discovery, Field(strict=False)]


class CredentialsSection(Strict):
    token: TokenId | None = None
    key: Fingerprint | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> CredentialsSection:
        if (self.token is None) == (self.key is None):
            message = 'give either "token" or "key"' + (", not both" if self.key else "")
            raise_problems([((), message, None)])
        return self


class NodeEntry(Strict):
    name: Name
    ip: Ip = ""
    role: Role = NodeRole.SUB
    type: Type = NodeType.EMBEDDED
    link: Link = "wired"
    labels: Labels = Field(default_factory=dict)
    credentials: CredentialsSection = CredentialsSection.model_construct()

    @model_validator(mode="after")
    def _embedded_are_static(self) -> NodeEntry:
        if not self.ip and self.type is NodeType.EMBEDDED:
            raise_problems([((), '"ip" is missing: only cloud nodes may go without', None)])
        return self

    def listed(self) -> ListedNode:
        return ListedNode(
            **self.model_dump(exclude={"credentials"}),
            token_id=self.credentials.token or "",
            key_fingerprint=self.credentials.key or "",
        )


def _unique(nodes: list[NodeEntry]) -> list[NodeEntry]:
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, node in enumerate(nodes):
        places["name", node.name].append(index)
        if node.ip:
            places["ip", node.ip].append(index)
    first: KeyPath
    problems: list[tuple[KeyPath, str, KeyPath | None]] = []
    for (key, value), indices in places.items():
        first = ("nodes", indices[0], key)
        problems += [
            ((index, key), f"{show(value)} is the {key} of another node already", first)
            for index in indices[1:]
        ]
    raise_problems(problems)
    return nodes


class ClusterSection(Strict):
    name: Name = DEFAULT.cluster_name


class HeartbeatSection(Strict):
    interval: Annotated[
        float,
        between(
            5,
            3600,
            "the load of the nodes would grow (HLD 8.1), and nothing is gained: a lost node is"
            " noticed within 5 s by its connection, not by heartbeats",
        ),
    ] = DEFAULT.heartbeat_interval
    misses: Annotated[int, Field(ge=1, le=100)] = DEFAULT.heartbeat_misses


class ThresholdsSection(Strict):
    memory_available_percent: Percent = DEFAULT.thresholds.memory_available_percent
    disk_used_percent: Percent = DEFAULT.thresholds.disk_used_percent
    duration: Annotated[float, between(0, _DAY)] = DEFAULT.thresholds.duration


class RetentionSection(Strict):
    events_max: Annotated[int, Field(ge=1, le=100_000)] = DEFAULT.retention.events_max
    events_max_age: Annotated[float, between(60, 3650 * _DAY)] = DEFAULT.retention.events_max_age


_SECURITY = DEFAULT.security
_Long = Annotated[float, between(10, 3650 * _DAY)]


class SecuritySection(Strict):
    san: list[San] = Field(default_factory=list)
    certificate_lifetime: _Long = _SECURITY.certificate_lifetime
    expired_grace: Annotated[float, between(0, 3650 * _DAY)] = _SECURITY.expired_grace
    overlap: _Long = _SECURITY.overlap


class AuditSection(Strict):
    max_file_size: Annotated[int, sized(64 << 10, 1 << 30)] = DEFAULT.audit.max_file_size
    files: Annotated[int, Field(ge=2, le=1000)] = DEFAULT.audit.files
    reads: bool = DEFAULT.audit.reads


class InstallSection(Strict):
    listen: Listen | None = None
    directory: AbsolutePath = DEFAULT.install.directory


class MasterFile(Strict):
    """The whole of `node.yaml`."""

    cluster: ClusterSection = ClusterSection()
    discovery: DiscoveryField = Discovery.CLOUD
    listen: Listen | None = None
    data_dir: AbsolutePath | None = None
    store: Store = DEFAULT.store
    encrypt: Encrypt = "secrets"
    heartbeat: HeartbeatSection = HeartbeatSection()
    reconnect_grace: Annotated[float, between(0, 60)] = DEFAULT.reconnect_grace
    thresholds: ThresholdsSection = ThresholdsSection()
    retention: RetentionSection = RetentionSection()
    security: SecuritySection = SecuritySection()
    audit: AuditSection = AuditSection()
    install: InstallSection = InstallSection()
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    nodes: Annotated[list[NodeEntry], AfterValidator(_unique)] = Field(default_factory=list)


class MasterFlags(Strict):
    """What the command line may override; its names are added to the file's."""

    san: list[San] = Field(default_factory=list)
    cluster_name: Name | None = None
    discovery: DiscoveryField | None = None
    listen: Listen | None = None
    data_dir: LocalPath | None = None
    store: Store | None = None
    rebuild: Annotated[float, between(10, _DAY)] | None = None
    log_level: LogLevel | None = None
    log_format: LogFormat | None = None
