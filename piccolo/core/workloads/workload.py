"""What is asked of the cluster: workloads, as immutable values, and actions upon them.

Every input format (`config.manifests`) ends here, so the planner and the agent know one shape only.
A workload is a pod: one or more containers that share a network, start and stop together, and are
placed as one. Values are normalised: seconds, bytes, cores; nothing is left to be looked up but
secrets, which stay references, and what the image decides, which is empty.

The defaults of the classes are those of the native format: safe, and unable to run twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from piccolo.core.model import NodeRole, NodeType
from piccolo.core.workloads.containers import Container, Probes


class RestartPolicy(StrEnum):
    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class DependencyCondition(StrEnum):
    RUNNING = "running"
    HEALTHY = "healthy"
    COMPLETED = "completed"


class NetworkMode(StrEnum):
    BRIDGE = "bridge"
    HOST = "host"
    NONE = "none"


class UpdateStrategy(StrEnum):
    ROLLING = "Rolling"  # a few at a time, each healthy before the next
    RECREATE = "Recreate"  # all are stopped, then all are started


class OnNodeLoss(StrEnum):
    STAY = "Stay"  # wait until the node is back
    RELOCATE = "Relocate"  # start elsewhere


class OnIsolation(StrEnum):
    CONTINUE = "Continue"  # run on without the master
    STOP = "Stop"


@dataclass(frozen=True, slots=True)
class Restart:
    """When a container that ended is started again, and after which pauses (`core.backoff`)."""

    policy: RestartPolicy = RestartPolicy.ALWAYS
    backoff_initial: float = 1.0  # s
    backoff_max: float = 300.0  # s


@dataclass(frozen=True, slots=True)
class Dependency:
    workload: str
    condition: DependencyCondition = DependencyCondition.RUNNING


@dataclass(frozen=True, slots=True)
class Placement:
    """Where it may run: on nodes for which all that is given holds."""

    nodes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    type: NodeType | None = None
    role: NodeRole | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """How a new version comes in (C5)."""

    strategy: UpdateStrategy = UpdateStrategy.ROLLING
    max_unavailable: int = 1
    min_ready: float = 0.0  # s it must stay well to count
    deadline: float = 600.0  # s in which it must be well, else it has failed
    rollback: bool = True  # to the version before, when it has failed


@dataclass(frozen=True, slots=True)
class NodeLoss:
    action: OnNodeLoss = OnNodeLoss.STAY
    after: float = 300.0  # s


@dataclass(frozen=True, slots=True)
class Isolation:
    """What its node does when the master cannot be reached. With `NodeLoss`: see `twice`."""

    action: OnIsolation = OnIsolation.CONTINUE
    after: float = 30.0  # s


@dataclass(frozen=True, slots=True)
class Network:
    mode: NetworkMode = NetworkMode.BRIDGE
    name: str = ""  # of Podman's network, with `bridge`; empty: the default one
    hostname: str = ""
    hosts: Mapping[str, str] = field(default_factory=dict)  # name → address
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod as it is meant to be, and how the cluster is to treat it."""

    name: str
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()  # run to their end before, one after the other
    labels: Mapping[str, str] = field(default_factory=dict)
    restart: Restart = field(default_factory=Restart)
    stop_grace: float = 10.0  # s from the stop signal to SIGKILL
    depends_on: tuple[Dependency, ...] = ()
    placement: Placement = field(default_factory=Placement)
    replicas: int = 1
    one_per_node: bool = False  # on each node where it may run; `replicas` does not count
    update: Update = field(default_factory=Update)
    on_node_loss: NodeLoss = field(default_factory=NodeLoss)
    on_isolation: Isolation = field(default_factory=Isolation)
    network: Network = field(default_factory=Network)
    package: str = ""  # of Pullpiri; actions name it
    held: bool = False  # declared, but it runs only once an action has launched it

    @property
    def probed(self) -> bool:
        """Whether anybody can say that it is healthy."""
        return any(c.probes != Probes() for c in self.containers)

    @property
    def twice(self) -> bool:
        """Whether a copy may be started elsewhere while one still runs on a node cut off."""
        if self.on_node_loss.action is OnNodeLoss.STAY:
            return False
        gone = self.on_isolation.after + self.stop_grace
        return self.on_isolation.action is OnIsolation.CONTINUE or gone >= self.on_node_loss.after


class ActionKind(StrEnum):
    """What a Pullpiri Scenario does."""

    LAUNCH = "launch"
    TERMINATE = "terminate"
    UPDATE = "update"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Action:
    """To be done once, to all workloads of a package."""

    name: str  # of the scenario
    kind: ActionKind
    package: str
