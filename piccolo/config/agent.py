"""`nodeagent.yaml`, the agent's file (LLD 3.2.2), and how the agent's settings come about.

Precedence: defaults < file < environment < command line (see `origins`). Files and variables of
existing sites keep working; what has no effect here is read, checked, and reported as a notice.
`docs/configuration.md` describes every key.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from piccolo.config.document import Document
from piccolo.config.document import Path as KeyPath
from piccolo.config.fields import (
    AbsolutePath,
    Fingerprint,
    JoinTokenText,
    Labels,
    Link,
    LocalPath,
    LogFormat,
    LogLevel,
    MasterAddress,
    Name,
    Port,
    Role,
    SocketPath,
    Strict,
    Type,
    between,
    raise_problems,
)
from piccolo.config.join_token import VARIABLE, find_token
from piccolo.config.names import name_of_host
from piccolo.config.origins import HIDDEN, SECONDS, Resolution, Resolved, variable
from piccolo.config.settings import AgentSettings
from piccolo.config.validation import path_text, validate_flags
from piccolo.config.yaml_file import load_file, validate
from piccolo.core.address import GRPC_PORT, parse_address, parse_port
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.words import show

CollectionInterval = Annotated[float, between(1, 3600)]
FASTEST = 5.0  # s, of heartbeats


class _Common(Strict):
    """What the file and the command line both have. None: not given."""

    masters: list[MasterAddress] | None = None
    grpc_port: Port | None = None
    ca_pin: Fingerprint | None = None
    name: Name | None = None
    type: Type | None = None
    link: Link | None = None
    labels: Labels = Field(default_factory=dict)
    log_level: LogLevel | None = None
    log_format: LogFormat | None = None


class MetricsSection(Strict):
    collection_interval: CollectionInterval | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None


class EtcdSection(Strict):
    endpoint: str | None = None


class SystemSection(Strict):
    hostname: str | None = None
    platform: str | None = None
    architecture: str | None = None


class NodeAgentSection(_Common):
    masters: Annotated[list[MasterAddress], Field(min_length=1)] | None = None
    master_ip: MasterAddress | None = None
    node_type: Role | None = None
    data_dir: AbsolutePath | None = None
    podman_socket: SocketPath | None = None
    token_file: AbsolutePath | None = None
    metrics: MetricsSection = MetricsSection()
    etcd: EtcdSection = EtcdSection()
    system: SystemSection = SystemSection()

    @model_validator(mode="after")
    def _one_way_to_name_masters(self) -> NodeAgentSection:
        if self.masters is not None and self.master_ip is not None:
            message = 'give either "masters" or "master_ip", not both'
            raise_problems([(("masters",), message, None)])
        return self


class AgentFile(Strict):
    """The whole of `nodeagent.yaml`."""

    nodeagent: NodeAgentSection = NodeAgentSection()


class AgentFlags(_Common):
    """What the command line may override; its labels are added to the file's."""

    role: Role | None = None
    data_dir: LocalPath | None = None
    podman_socket: SocketPath | None = None
    token: JoinTokenText | None = None
    token_file: LocalPath | None = None
    collection_interval: CollectionInterval | None = None


_SPELLED = {"masters": "--master", "labels": "--label", "node_type": "--role"}

_BELOW = "nodeagent"
_NO_MASTER = (
    "no master is named: give --master HOST[:PORT], set MASTER_NODE_IP, or write master_ip in"
    " nodeagent.yaml"
)
_WITHOUT_EFFECT = {
    ("etcd", "endpoint"): "agents do not talk to etcd",
    ("metrics", "batch_size"): "changes are sent at once, usage with the heartbeats",
    ("system", "platform"): "the agent finds it out by itself",
    ("system", "architecture"): "the agent finds it out by itself",
}


def resolve_agent_settings(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    hostname: str | None = None,
    root: bool | None = None,
) -> tuple[AgentSettings, list[str]]:
    """The settings to start with, and notices for people: what means less than it seems.

    As `resolve_agent`; beyond it, there must be a master, and what a token file says is read.
    """
    given, conf, document = _read(file, flags)
    resolved = _resolve(given, conf, document, environ, hostname, root)
    settings, notices = resolved.settings, resolved.notices
    token = find_token(given.token, given.token_file, environ, conf.token_file, notices)
    if token is not None and settings.ca_pin not in ("", token.pin):
        raise InvalidSpec(
            f"the join token is of the authority {token.pin}, but the pin given is"
            f" {settings.ca_pin}: one of the two is of another cluster"
        )
    if not settings.masters:
        raise InvalidSpec(_NO_MASTER)
    return replace(settings, token=token.text if token is not None else ""), notices


def resolve_agent(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    hostname: str | None = None,
    root: bool | None = None,
) -> Resolved[AgentSettings]:
    """The settings without the token, maybe without a master, and where each value came from.

    `flags` has the fields of `AgentFlags`. Of the environment, `MASTER_NODE_IP`, `GRPC_PORT` and
    `PICCOLO_TOKEN` count (and `XDG_DATA_HOME`, `HOME` for the default data directory); empty is not
    given. `hostname` and `root`, when not given, are this machine's and this process'.
    Raises `InvalidSpec`.
    """
    return _resolve(*_read(file, flags), environ, hostname, root)


def less_than_it_seems(conf: NodeAgentSection) -> list[tuple[KeyPath, str]]:
    """What a file gives that does nothing, or less than one would think, and why."""
    found: list[tuple[KeyPath, str]] = [
        ((_BELOW, section, key), f"has no effect: {reason}")
        for (section, key), reason in _WITHOUT_EFFECT.items()
        if getattr(getattr(conf, section), key) is not None
    ]
    if (conf.metrics.collection_interval or FASTEST) < FASTEST:
        message = f"means no more than {FASTEST:g} s: usage goes with the heartbeats"
        found.append(((_BELOW, "metrics", "collection_interval"), message))
    return found


def _read(
    file: Path | None, flags: Mapping[str, Any]
) -> tuple[AgentFlags, NodeAgentSection, Document]:
    given = validate_flags(AgentFlags, flags, _SPELLED)
    document = Document("nodeagent.yaml", {}) if file is None else load_file(file)
    return given, validate(AgentFile, document).nodeagent, document


def _resolve(
    given: AgentFlags,
    conf: NodeAgentSection,
    document: Document,
    environ: Mapping[str, str],
    hostname: str | None,
    root: bool | None,
) -> Resolved[AgentSettings]:
    notices = [
        f"{document.place(path)}: {path_text(path)} {message}"
        for path, message in less_than_it_seems(conf)
    ]
    if document.value is None:
        notices.append(f"{document.source} is empty: defaults, environment and command line hold")
    if environ.get("RUST_LOG", "").strip():
        notices.append(
            "environment variable RUST_LOG has no effect: write log_level in nodeagent.yaml, or"
            " give --log-level"
        )
    values = Resolution(document, _BELOW, _SPELLED)
    take = values.take
    settings = AgentSettings(
        masters=_masters(values, conf, environ, given.masters, given.grpc_port),
        name=_name(values, conf, given.name, hostname, notices),
        role=take("node_type", conf.node_type or NodeRole.SUB, flag=given.role),
        type=take("type", conf.type or NodeType.EMBEDDED, flag=given.type),
        link=take("link", conf.link or "wired", flag=given.link),
        labels=values.take_items("labels", conf.labels, given.labels),
        data_dir=values.take_data_dir("agent", conf.data_dir, given.data_dir, environ, root),
        podman_socket=take("podman_socket", conf.podman_socket, flag=given.podman_socket),
        ca_pin=take("ca_pin", conf.ca_pin or "", flag=given.ca_pin),
        collection_interval=take(
            "metrics.collection_interval",
            conf.metrics.collection_interval or FASTEST,
            flag=given.collection_interval,
            unit=SECONDS,
        ),
        log_level=take("log_level", conf.log_level or "info", flag=given.log_level),
        log_format=take("log_format", conf.log_format or "text", flag=given.log_format),
    )
    if not settings.masters:
        notices.append(_NO_MASTER)
    take("token_file", conf.token_file or "", flag=given.token_file)
    token = variable(environ, VARIABLE, lambda _: HIDDEN)
    if given.token or token:  # which is no key of the file
        take("token", "", environ=token, flag=HIDDEN if given.token else None)
    return Resolved(settings, notices, values.values)


def _masters(
    values: Resolution,
    conf: NodeAgentSection,
    environ: Mapping[str, str],
    flag: list[str] | None,
    port_flag: int | None,
) -> tuple[str, ...]:
    port = values.take(
        "grpc_port",
        conf.grpc_port or GRPC_PORT,
        environ=variable(environ, "GRPC_PORT", parse_port),
        flag=port_flag,
    )

    def whole(texts: list[str]) -> list[str]:
        return list(dict.fromkeys(str(parse_address(text, port)) for text in texts))

    in_file = conf.masters or ([conf.master_ip] if conf.master_ip is not None else [])
    return tuple(
        values.take(
            "masters",
            whole(in_file),
            environ=variable(environ, "MASTER_NODE_IP", lambda text: whole([text])),
            flag=whole(flag) if flag else None,
            written="master_ip" if conf.master_ip is not None else "",
        )
    )


def _name(
    values: Resolution,
    conf: NodeAgentSection,
    flag: str | None,
    hostname: str | None,
    notices: list[str],
) -> str:
    host = conf.system.hostname
    if flag or conf.name:
        return values.take("name", conf.name or "", flag=flag)
    written = "system.hostname" if host else ""
    host = host or (socket.gethostname() if hostname is None else hostname)
    return values.take("name", _name_from(host, notices), written=written)


def _name_from(host: str, notices: list[str]) -> str:
    name = name_of_host(host)
    if not name:
        raise InvalidSpec(
            f"the host name {show(host)} does not tell this machine apart: give the node a name"
            " with --name, or with name in nodeagent.yaml"
        )
    if name != host:
        notices.append(f'this node is named "{name}", after the host name {show(host)}')
    return name
