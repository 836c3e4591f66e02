"""Where things stand in the store.

==========================  =======================================  ===========
key                         value                                    kept
==========================  =======================================  ===========
node/ID                     `model.Node`                             on disk
node-status/ID              `model.NodeStatus`                       on disk
node-live/ID                `model.NodeLive`                         in memory
container/ID/CONTAINER      `model.Container`                        on disk
usage/ID                    tuple of `model.ContainerUsage`          in memory
event/NUMBER                `model.Event`, in the order they came    on disk
topology                    `model.Topology`                         on disk
master                      `MasterRecord`                           on disk
secret/NAME                 `model.Secret`, always encrypted         on disk
heartbeats                  time of the last heartbeat, by node ID   now and then
token/ID                    `model.Token`                            on disk
token-use/ID/N              `model.TokenUse`, in their order         on disk
certificate/ROLE/NAME/…     `model.Certificate`, by its serial       on disk
authorities                 `model.Authorities`                      on disk
audit-head                  `audit.Head`                             on disk
workload/NAME               `declared.Declared`                      on disk
workload-history/NAME/N     `declared.Past`, of generation N         on disk
assignment/ID/KEY           `declared.Assignment`                    on disk
instance/ID/KEY             `instances.InstanceStatus`               on disk
unplaced/NAME               `Unplaced`                               in memory
agent-events/ID             `AgentStream`                            on disk
backed-up                   `BackedUp`                               on disk
rebuild                     `Rebuild`                                on disk
returned/ID                 `Returned`                               on disk
changeset                   `Marker`                                 on disk
changeset/ID/N              a part of a large commit                 on disk
==========================  =======================================  ===========

ID is that of a node, but for events, tokens and changesets; KEY is that of an instance.

A key is either committed (node, topology, master, token, token-use, certificate, authorities,
secret, workload, workload-history, assignment, rebuild, returned, changeset) or observed (all
others), never both: so an observation can never undo what somebody was promised, nor the other way
round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from piccolo.core import model
from piccolo.core.security import audit
from piccolo.core.workloads import declared, instances
from piccolo.store.seals import SECRETS

NODE = "node/"
CONTAINER = "container/"
USAGE = "usage/"
EVENT = "event/"
TOPOLOGY = "topology"
MASTER = "master"
HEARTBEATS = "heartbeats"
LIVE = "node-live/"
STATUS = "node-status/"
TOKEN = "token/"
TOKEN_USE = "token-use/"
CERTIFICATE = "certificate/"
AUTHORITIES = "authorities"
SECRET = SECRETS  # the folder that `store.seals` encrypts in any case
AUDIT_HEAD = "audit-head"
ALL_OF_NODES = "node"  # the prefix of the three
WORKLOAD = "workload/"
HISTORY = "workload-history/"
ASSIGNMENT = "assignment/"
INSTANCE = "instance/"
UNPLACED = "unplaced/"
AGENT_EVENTS = "agent-events/"
BACKED_UP = "backed-up"
REBUILD = "rebuild"
RETURNED = "returned/"
CHANGESET = "changeset"

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Restored:
    """The store comes from a backup, so agents may hold what is newer than it."""

    backup_at: datetime | None  # when the backup was made; None: there was none
    at: datetime  # when it was restored

    @property
    def source(self) -> str:
        """For people."""
        if self.backup_at is None:
            return "what the nodes hold, without a backup"
        return f"the backup of {self.backup_at:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class MasterRecord:
    """What a master must know of its former lives."""

    format: int  # of the store's content
    cluster_id: str
    epoch: int  # how often a master started on this store: the upper half of each generation
    restored: Restored | None = None  # the last time


@dataclass(frozen=True, slots=True)
class BackedUp:
    """The last backup that somebody took."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A restored master waits for its nodes: see `master.workloads.rebuild`."""

    restored_at: datetime  # which of the restores this is about
    until: datetime
    patience: float  # s, from its beginning until then


@dataclass(frozen=True, slots=True)
class Returned:
    """What a node held when it came back after a restore was taken over."""

    restored_at: datetime


@dataclass(frozen=True, slots=True)
class AgentStream:
    """How far an agent's events were taken in: those of `stream` up to `seq`."""

    stream: str
    seq: int


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why the last plan found no place for a copy of a workload, as it was declared then."""

    reason: str
    generation: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Marker:
    """What stands under `CHANGESET`: see `master.changeset`. Without `id`: nothing is under way."""

    id: str = ""
    parts: int = 0
    digest: str = ""  # of all parts together


def node(node_id: str) -> str:
    return f"{NODE}{node_id}"


def status(node_id: str) -> str:
    return f"{STATUS}{node_id}"


def live(node_id: str) -> str:
    return f"{LIVE}{node_id}"


def containers(node_id: str) -> str:
    return f"{CONTAINER}{node_id}/"


def container(node_id: str, container_id: str) -> str:
    return f"{CONTAINER}{node_id}/{container_id}"


def usage(node_id: str) -> str:
    return f"{USAGE}{node_id}"


def event(number: int) -> str:
    return f"{EVENT}{number:016d}"


def token(token_id: str) -> str:
    return f"{TOKEN}{token_id}"


def token_uses(token_id: str) -> str:
    return f"{TOKEN_USE}{token_id}/"


def token_use(token_id: str, number: int) -> str:
    return f"{token_uses(token_id)}{number:05d}"


def certificates(role: str, name: str) -> str:
    return f"{CERTIFICATE}{role}/{name}/"


def certificate(of: model.Certificate) -> str:
    return f"{certificates(of.role, of.name)}{of.serial}"


def secret(name: str) -> str:
    return f"{SECRET}{name}"


def workload(name: str) -> str:
    return f"{WORKLOAD}{name}"


def history(name: str) -> str:
    return f"{HISTORY}{name}/"


def past(name: str, generation: int) -> str:
    return f"{history(name)}{generation:010d}"


def assignments(node_id: str) -> str:
    return f"{ASSIGNMENT}{node_id}/"


def assignment(node_id: str, instance_key: str) -> str:
    return f"{assignments(node_id)}{instance_key}"


def instances_of(node_id: str) -> str:
    return f"{INSTANCE}{node_id}/"


def instance(node_id: str, instance_key: str) -> str:
    return f"{instances_of(node_id)}{instance_key}"


def unplaced(name: str) -> str:
    return f"{UNPLACED}{name}"


def agent_events(node_id: str) -> str:
    return f"{AGENT_EVENTS}{node_id}"


def returned(node_id: str) -> str:
    return f"{RETURNED}{node_id}"


def changeset_part(changeset_id: str, number: int) -> str:
    return f"{CHANGESET}/{changeset_id}/{number:04d}"


def workload_of(key: str) -> str:
    """Whose assignment or instance stands under `key`; empty: it is something else."""
    if not key.startswith((ASSIGNMENT, INSTANCE)):
        return ""
    return key[key.rfind("/") + 1 :].rpartition(".")[0]


def group_of(key: str) -> str:
    """The folder a key lies in, "" or ending in a slash."""
    return key[: key.rfind("/") + 1]


_TYPES: dict[str, Any] = {
    NODE: model.Node,
    STATUS: model.NodeStatus,
    LIVE: model.NodeLive,
    USAGE: tuple[model.ContainerUsage, ...],
    EVENT: model.Event,
    TOPOLOGY: model.Topology,
    MASTER: MasterRecord,
    TOKEN: model.Token,
    AUTHORITIES: model.Authorities,
    SECRET: model.Secret,
    AUDIT_HEAD: audit.Head,
    HEARTBEATS: Mapping[str, datetime],
    WORKLOAD: declared.Declared,
    UNPLACED: Unplaced,
    AGENT_EVENTS: AgentStream,
    CHANGESET: Marker,
    BACKED_UP: BackedUp,
    REBUILD: Rebuild,
    RETURNED: Returned,
}
_TYPES_BELOW: dict[str, Any] = {
    CONTAINER: model.Container,
    CERTIFICATE: model.Certificate,
    TOKEN_USE: model.TokenUse,
    HISTORY: declared.Past,
    ASSIGNMENT: declared.Assignment,
    INSTANCE: instances.InstanceStatus,
}


def type_of(key: str) -> Any:
    """The type of what stands under `key`; None: it is not ours."""
    if found := _TYPES_BELOW.get(key[: key.find("/") + 1]):
        return found
    return _TYPES.get(group_of(key) or key)
