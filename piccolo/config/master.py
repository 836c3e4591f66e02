"""`node.yaml`, the master's file (LLD 3.2.1), and how the master's settings come about.

Precedence: defaults < file < command line. `docs/configuration.md` describes every key.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

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
from piccolo.config.paths import default_data_dir
from piccolo.config.settings import (
    AuditSettings,
    Discovery,
    ListedNode,
    MasterSettings,
    Retention,
    SecuritySettings,
)
from piccolo.config.validation import validate_flags
from piccolo.config.yaml_file import load_file, source_name, validate
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.nodes.shortage import Thresholds
from piccolo.core.words import show

_DEFAULT = MasterSettings(data_dir="")
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
    name: Name = _DEFAULT.cluster_name


class HeartbeatSection(Strict):
    interval: Annotated[
        float,
        between(
            5,
            3600,
            "the load of the nodes would grow (HLD 8.1), and nothing is gained: a lost node is"
            " noticed within 5 s by its connection, not by heartbeats",
        ),
    ] = _DEFAULT.heartbeat_interval
    misses: Annotated[int, Field(ge=1, le=100)] = _DEFAULT.heartbeat_misses


class ThresholdsSection(Strict):
    memory_available_percent: Percent = _DEFAULT.thresholds.memory_available_percent
    disk_used_percent: Percent = _DEFAULT.thresholds.disk_used_percent
    duration: Annotated[float, between(0, _DAY)] = _DEFAULT.thresholds.duration


class RetentionSection(Strict):
    events_max: Annotated[int, Field(ge=1, le=100_000)] = _DEFAULT.retention.events_max
    events_max_age: Annotated[float, between(60, 3650 * _DAY)] = _DEFAULT.retention.events_max_age


_SECURITY = _DEFAULT.security
_Long = Annotated[float, between(10, 3650 * _DAY)]


class SecuritySection(Strict):
    san: list[San] = Field(default_factory=list)
    certificate_lifetime: _Long = _SECURITY.certificate_lifetime
    expired_grace: Annotated[float, between(0, 3650 * _DAY)] = _SECURITY.expired_grace
    overlap: _Long = _SECURITY.overlap


class AuditSection(Strict):
    max_file_size: Annotated[int, sized(64 << 10, 1 << 30)] = _DEFAULT.audit.max_file_size
    files: Annotated[int, Field(ge=2, le=1000)] = _DEFAULT.audit.files
    reads: bool = _DEFAULT.audit.reads


class MasterFile(Strict):
    """The whole of `node.yaml`."""

    cluster: ClusterSection = ClusterSection()
    discovery: DiscoveryField = Discovery.CLOUD
    listen: Listen = _DEFAULT.listen
    data_dir: AbsolutePath | None = None
    store: Store = _DEFAULT.store
    encrypt: Encrypt = "secrets"
    heartbeat: HeartbeatSection = HeartbeatSection()
    reconnect_grace: Annotated[float, between(0, 60)] = _DEFAULT.reconnect_grace
    thresholds: ThresholdsSection = ThresholdsSection()
    retention: RetentionSection = RetentionSection()
    security: SecuritySection = SecuritySection()
    audit: AuditSection = AuditSection()
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


def resolve_master_settings(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    root: bool | None = None,
) -> tuple[MasterSettings, list[str]]:
    """The settings, and notices for people: what was given and means less than it seems.

    `flags` has the fields of `MasterFlags`; `root`, when not given, is whether this process runs
    as root. Reads the file: call it in a thread where an event loop runs. Raises `InvalidSpec`.
    """
    given = validate_flags(MasterFlags, flags, {})
    notices = []
    if file is None:
        conf = MasterFile(discovery=Discovery.ANY)
        if given.discovery is None:
            notices.append("no node.yaml: any node with a token may join (discovery: any)")
    else:
        document = load_file(file)
        conf = validate(MasterFile, document)
        if document.value is None:
            notices.append(
                f"{source_name(file)} is empty: defaults hold, no node is listed, and embedded"
                " nodes wait for approval (discovery: cloud)"
            )
    data_dir = given.data_dir or conf.data_dir
    if data_dir is None:
        is_root = os.geteuid() == 0 if root is None else root
        data_dir = default_data_dir("master", environ, root=is_root)
    settings = MasterSettings(
        data_dir=data_dir,
        cluster_name=given.cluster_name or conf.cluster.name,
        discovery=given.discovery or conf.discovery,
        listen=given.listen or conf.listen,
        store=given.store or conf.store,
        encrypt=conf.encrypt,
        heartbeat_interval=conf.heartbeat.interval,
        heartbeat_misses=conf.heartbeat.misses,
        reconnect_grace=conf.reconnect_grace,
        thresholds=Thresholds(**conf.thresholds.model_dump()),
        retention=Retention(**conf.retention.model_dump()),
        security=SecuritySettings(
            san=tuple(dict.fromkeys((*conf.security.san, *given.san))),
            **conf.security.model_dump(exclude={"san"}),
        ),
        audit=AuditSettings(**conf.audit.model_dump()),
        nodes=tuple(n.listed() for n in conf.nodes),
        rebuild=given.rebuild or 0.0,
        log_level=given.log_level or conf.log_level,
        log_format=given.log_format or conf.log_format,
    )
    return settings, notices


def restart_needed(old: MasterSettings, new: MasterSettings) -> list[str]:
    """Keys that differ and take effect at the next start only; all others can be reloaded."""
    keys = ("listen", "data_dir", "store", "encrypt", "security")
    return [key for key in keys if getattr(old, key) != getattr(new, key)]
