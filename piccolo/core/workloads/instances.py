"""Instances: copies of workloads on nodes, as the master asks for them and agents report them.

An instance is a pod in Podman: its containers carry the labels below, so an agent knows its own
again after any restart, and touches nothing else. The `hash` says what made the containers what
they are: while it stays, they are adopted as they run; when it differs, they are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b

from piccolo.core import plain
from piccolo.core.workloads.containers import Container, Probes
from piccolo.core.workloads.workload import Network, Workload

# Labels of containers, pods and volumes that are ours.
LABEL_INSTANCE = "io.piccolo.instance"  # NAME.INDEX
LABEL_WORKLOAD = "io.piccolo.workload"
LABEL_CONTAINER = "io.piccolo.container"  # its name within the workload
LABEL_HASH = "io.piccolo.hash"
LABEL_NODE = "io.piccolo.node"  # id of the node whose agent made it: two agents may share a Podman


def instance_key(workload: str, index: int) -> str:
    """What an instance is called, on its node and in Podman: names of workloads have no dots."""
    return f"{workload}.{index}"


@dataclass(frozen=True, slots=True)
class Instance:
    """What an agent is asked to run. Secrets travel and are kept beside it, never in it.

    The times tell a master that was restored from a backup what is newer: see `adoption`.
    """

    workload: Workload
    index: int
    generation: int  # of the workload's spec
    hash: str  # see `pod_hash`
    changed_at: datetime | None = None  # when this generation was declared
    secrets_at: Mapping[str, datetime] = field(default_factory=dict)  # when each secret was set

    @property
    def key(self) -> str:
        return instance_key(self.workload.name, self.index)


Secrets = Mapping[str, str]  # base64 by "SECRET/KEY"


def pod_hash(workload: Workload, secrets: Secrets, restarts: int) -> str:
    """Of all that can only be changed by making the containers anew: SPEC-SECRETS-RESTARTS."""
    spec = spec_hash(workload)
    return f"{spec}-{_digest([spec, secrets])}-{restarts}"


def restarts_of(pod: str) -> int:
    """The part of a `pod_hash` that counts restarts."""
    number = pod.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def spec_hash(workload: Workload) -> str:
    """The part of `pod_hash` that the workload alone decides."""
    pod = _Pod(
        tuple(map(_made, workload.containers)),
        tuple(map(_made, workload.init_containers)),
        workload.labels,
        workload.network,
    )
    return _digest(pod)


def _digest(value: object) -> str:
    return blake2b(plain.encode(value), digest_size=8).hexdigest()


def _made(container: Container) -> Container:
    """Without what the agent itself does, and can do otherwise at any time."""
    return replace(container, probes=Probes())


@dataclass(frozen=True, slots=True)
class _Pod:
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...]
    labels: Mapping[str, str]
    network: Network


def sync_digest(key: str, spec: bytes, secrets: Secrets) -> int:
    """64 bits over one instance as it travels; the XOR of all is the digest of a node's desired
    state, by which master and agent find out whether they agree."""
    parts = [key.encode(), spec, *(f"{k}={v}".encode() for k, v in sorted(secrets.items()))]
    return int.from_bytes(blake2b(b"\0".join(parts), digest_size=8).digest())


class Phase(StrEnum):
    """Where an instance is in its life. `CrashLoop` and `Error` go on by themselves."""

    WAITING = "Waiting"  # for what it depends on, for its turn, or for the runtime
    PULLING = "Pulling"  # its image is fetched
    STARTING = "Starting"  # made and started; init containers or the startup probe are not done
    RUNNING = "Running"
    BACK_OFF = "BackOff"  # ended; it is started again after a pause
    CRASH_LOOP = "CrashLoop"  # the same for the third time in a row, or more often
    ERROR = "Error"  # could not be made or started: `reason` says why; tried again after a pause
    COMPLETED = "Completed"  # ended with exit code 0, and stays so
    FAILED = "Failed"  # ended otherwise, and stays so
    STOPPING = "Stopping"


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """What an agent says of an instance. `ready`: runs, and its probes say that it is well."""

    workload: str
    index: int
    generation: int
    phase: Phase = Phase.WAITING
    ready: bool = False
    reason: str = ""  # one CamelCase word
    message: str = ""
    restarts: int = 0  # of its containers, by the agent, since this spec began
    exit_code: int = 0  # of the last end, 128 + N by signal N
    since: datetime | None = None  # when the phase began
    hash: str = ""  # of the containers that there are

    @property
    def key(self) -> str:
        return instance_key(self.workload, self.index)


@dataclass(frozen=True, slots=True)
class DependencyState:
    """What holds of a workload that others depend on, over all its instances."""

    workload: str
    running: bool = False
    healthy: bool = False
    completed: bool = False


@dataclass(frozen=True, slots=True)
class Happening:
    """Something an agent saw, for the cluster's events. `seq` counts within a `stream`."""

    seq: int
    time: datetime
    severity: str  # a `model.Severity`
    subject: str  # the instance's key
    reason: str
    message: str
    count: int = field(default=1)  # so many of the same in a row, gathered into one
