"""`nodeagent.yaml`, the agent's file (LLD 3.2.2), and how the agent's settings come about.

Precedence: defaults < file < environment < command line. Files and variables of existing sites
keep working; what has no effect here is read, checked, and reported as a notice.
`docs/configuration.md` describes every key.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, model_validator

from piccolo.config.document import Document
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
from piccolo.config.join_token import find_token
from piccolo.config.names import name_of_host
from piccolo.config.paths import default_data_dir
from piccolo.config.settings import AgentSettings
from piccolo.config.validation import path_text, validate_flags
from piccolo.config.yaml_file import load_file, source_name, validate
from piccolo.core.address import GRPC_PORT, parse_address, parse_port
from piccolo.core.errors import InvalidSpec
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.words import show

_Value = TypeVar("_Value")

CollectionInterval = Annotated[float, between(1, 3600)]


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


_SPELLED = {"masters": "--master", "labels": "--label"}

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
    """The settings, and notices for people: what was given and means less than it seems.

    `flags` has the fields of `AgentFlags`. Of the environment, `MASTER_NODE_IP`, `GRPC_PORT` and
    `PICCOLO_TOKEN` count (and `XDG_DATA_HOME`, `HOME` for the default data directory); empty is not
    given. What a token file says is read.
    `hostname` and `root`, when not given, are this machine's and this process'.
    Raises `InvalidSpec`.
    """
    given = validate_flags(AgentFlags, flags, _SPELLED)
    document = Document("nodeagent.yaml", {}) if file is None else load_file(file)
    conf = validate(AgentFile, document).nodeagent
    notices = _without_effect(conf, document)
    if file is not None and document.value is None:
        notices.append(f"{source_name(file)} is empty: defaults, environment and command line hold")
    name = given.name or conf.name
    if name is None:
        host = conf.system.hostname or (socket.gethostname() if hostname is None else hostname)
        name = _name_from(host, notices)
    data_dir = given.data_dir or conf.data_dir
    if data_dir is None:
        is_root = os.geteuid() == 0 if root is None else root
        data_dir = default_data_dir("agent", environ, root=is_root)
    token = find_token(given.token, given.token_file, environ, conf.token_file, notices)
    ca_pin = given.ca_pin or conf.ca_pin or ""
    if token is not None and ca_pin not in ("", token.pin):
        raise InvalidSpec(
            f"the join token is of the authority {token.pin}, but the pin given is {ca_pin}:"
            " one of the two is of another cluster"
        )
    settings = AgentSettings(
        masters=_masters(conf, environ, given),
        name=name,
        data_dir=data_dir,
        role=given.role or conf.node_type or NodeRole.SUB,
        type=given.type or conf.type or NodeType.EMBEDDED,
        link=given.link or conf.link or "wired",
        labels={**conf.labels, **given.labels},
        podman_socket=given.podman_socket or conf.podman_socket,
        token=token.text if token is not None else "",
        ca_pin=ca_pin,
        collection_interval=given.collection_interval or conf.metrics.collection_interval or 5.0,
        log_level=given.log_level or conf.log_level or "info",
        log_format=given.log_format or conf.log_format or "text",
    )
    return settings, notices


def _without_effect(conf: NodeAgentSection, document: Document) -> list[str]:
    notices = []
    for (section, key), reason in _WITHOUT_EFFECT.items():
        if getattr(getattr(conf, section), key) is not None:
            path = ("nodeagent", section, key)
            notices.append(f"{document.place(path)}: {path_text(path)} has no effect: {reason}")
    return notices


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


def _masters(
    conf: NodeAgentSection, environ: Mapping[str, str], given: AgentFlags
) -> tuple[str, ...]:
    port = given.grpc_port or _from_environ(environ, "GRPC_PORT", parse_port)
    port = port or conf.grpc_port or GRPC_PORT

    def whole(text: str) -> str:
        return str(parse_address(text, port))

    from_environ = _from_environ(environ, "MASTER_NODE_IP", whole)
    if given.masters:
        found = [whole(m) for m in given.masters]
    elif from_environ is not None:
        found = [from_environ]
    elif conf.masters:
        found = [whole(m) for m in conf.masters]
    elif conf.master_ip is not None:
        found = [whole(conf.master_ip)]
    else:
        raise InvalidSpec(
            "no master is named: give --master HOST[:PORT], set MASTER_NODE_IP, or write"
            " master_ip in nodeagent.yaml"
        )
    return tuple(dict.fromkeys(found))


def _from_environ(
    environ: Mapping[str, str], variable: str, parse: Callable[[str], _Value]
) -> _Value | None:
    text = environ.get(variable, "").strip()
    if not text:
        return None
    try:
        return parse(text)
    except InvalidSpec as error:
        raise InvalidSpec(f"environment variable {variable}: {error}") from None
