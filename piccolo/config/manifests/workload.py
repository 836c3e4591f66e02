"""The native format: `apiVersion: piccolo.io/v1`, `kind: Workload`.

A workload of one container, which is what most are, has the container's keys in `spec` itself. One
of several has `containers` instead: they share a network and are placed, started and stopped
together, as Podman's pods do it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from piccolo.config.fields import Labels, Name, Role, Type, raise_problems
from piccolo.config.manifests.base import Manifest, Report, key
from piccolo.config.manifests.container import ContainerKeys, NamedContainer
from piccolo.config.manifests.rules import Layout, check_workload
from piccolo.config.manifests.values import (
    DAY,
    MAX_ITEMS,
    Duration,
    HostName,
    Ip,
    SignalName,
    VolumeName,
)
from piccolo.core.workloads import workload as core

MAX_CONTAINERS = 32
MAX_REPLICAS = 1000

_DEFAULT = core.Workload("", ())


class Metadata(Manifest):
    name: Name = key("Lower-case letters, digits and -, at most 63.", ...)
    labels: Labels = key("For selecting: keys and values as in Kubernetes.", {})


class BackoffSpec(Manifest):
    initial: Annotated[float, Duration(0.1, 3600)] = key(
        "The first pause; each is twice the one before.", _DEFAULT.restart.backoff_initial
    )
    max: Annotated[float, Duration(0.1, DAY)] = key(
        "The longest pause.", _DEFAULT.restart.backoff_max
    )


class RestartSpec(Manifest):
    policy: Annotated[core.RestartPolicy, Field(strict=False)] = key(
        "Which containers that ended are started again.", core.RestartPolicy.ALWAYS
    )
    backoff: BackoffSpec = key("Pauses between starts.", BackoffSpec())


class StopSpec(Manifest):
    signal: SignalName | None = key("Asks the program to end; without it the image's, or SIGTERM.")
    grace: Annotated[float, Duration(0, DAY)] = key(
        "From then on until it is killed.", _DEFAULT.stop_grace
    )


class DependencySpec(Manifest):
    workload: Name = key("The one that must come first.", ...)
    condition: Annotated[core.DependencyCondition, Field(strict=False)] = key(
        "running, healthy (its probes say so) or completed (it ended with exit code 0).",
        core.DependencyCondition.RUNNING,
    )


class PlacementSpec(Manifest):
    nodes: Annotated[list[Name], Field(max_length=MAX_ITEMS)] = key("Only on one of these.", [])
    labels: Labels = key("Only on nodes with all of these labels.", {})
    type: Type | None = key("Only on nodes of this type.")
    role: Role | None = key("Only on nodes of this role.")


class UpdateSpec(Manifest):
    strategy: Annotated[core.UpdateStrategy, Field(strict=False)] = key(
        "Rolling: a few at a time; Recreate: all are stopped first.", core.UpdateStrategy.ROLLING
    )
    max_unavailable: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = key(
        "How many may be away at a time.", _DEFAULT.update.max_unavailable
    )
    min_ready: Annotated[float, Duration(0, DAY)] = key(
        "How long a new one must be well to count.", _DEFAULT.update.min_ready
    )
    deadline: Annotated[float, Duration(1, DAY)] = key(
        "In which a new one must be well, else the update failed.", _DEFAULT.update.deadline
    )
    rollback: bool = key("Whether a failed update is taken back.", True)


class NodeLossSpec(Manifest):
    action: Annotated[core.OnNodeLoss, Field(strict=False)] = key(
        "Stay: wait for the node; Relocate: start elsewhere.", core.OnNodeLoss.STAY
    )
    after: Annotated[float, Duration(0, 30 * DAY)] = key(
        "Since the node was lost.", _DEFAULT.on_node_loss.after
    )


class IsolationSpec(Manifest):
    action: Annotated[core.OnIsolation, Field(strict=False)] = key(
        "Continue: run on; Stop: stop, by the node's own clock.", core.OnIsolation.CONTINUE
    )
    after: Annotated[float, Duration(0, 30 * DAY)] = key(
        "Since the master was last heard of.", _DEFAULT.on_isolation.after
    )


class DnsSpec(Manifest):
    servers: Annotated[list[Ip], Field(max_length=8)] = key("Addresses of name servers.", [])
    searches: Annotated[list[HostName], Field(max_length=32)] = key("Domains to try.", [])
    options: Annotated[list[str], Field(max_length=32)] = key("Of resolv.conf(5).", [])


class NetworkSpec(Manifest):
    mode: Annotated[core.NetworkMode, Field(strict=False)] = key(
        "bridge: a network of its own; host: the node's; none.", core.NetworkMode.BRIDGE
    )
    name: VolumeName | None = key("Which of Podman's networks, with bridge.")
    hostname: HostName | None = key("The host name inside.")
    hosts: Annotated[dict[HostName, Ip], Field(max_length=MAX_ITEMS)] = key(
        "Further host names → addresses.", {}
    )
    dns: DnsSpec = key("How names are looked up.", DnsSpec())

    def made(self) -> core.Network:
        return core.Network(
            mode=self.mode,
            name=self.name or "",
            hostname=self.hostname or "",
            hosts=self.hosts,
            dns_servers=tuple(self.dns.servers),
            dns_searches=tuple(self.dns.searches),
            dns_options=tuple(self.dns.options),
        )


class WorkloadSpec(ContainerKeys):
    containers: Annotated[list[NamedContainer], Field(max_length=MAX_CONTAINERS)] = key(
        "Several containers that share a network, instead of image and the like.", []
    )
    init_containers: Annotated[list[NamedContainer], Field(max_length=MAX_CONTAINERS)] = key(
        "Run to their end before, one after the other.", []
    )
    restart: RestartSpec = key("What happens when a container ends.", RestartSpec())
    stop: StopSpec = key("How containers are stopped.", StopSpec())
    depends_on: Annotated[list[DependencySpec], Field(max_length=MAX_ITEMS)] = key(
        "Workloads that must come first, on whatever node.", []
    )
    placement: PlacementSpec = key("Where it may run.", PlacementSpec())
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] | None = key("How many; 1 without it.")
    one_per_node: bool = key("One on each node where it may run, instead of replicas.", False)
    update: UpdateSpec = key("How a new version comes in.", UpdateSpec())
    on_node_loss: NodeLossSpec = key("What happens when its node is lost.", NodeLossSpec())
    on_isolation: IsolationSpec = key(
        "What its node does when it cannot reach the master.", IsolationSpec()
    )
    network: NetworkSpec = key("The network of its containers.", NetworkSpec())

    @model_validator(mode="after")
    def _one_way_each(self) -> WorkloadSpec:
        if self.one_per_node and self.replicas is not None:
            raise_problems([((), 'give either "replicas" or "onePerNode", not both', None)])
        own = [n for n in ContainerKeys.model_fields if n in self.model_fields_set]
        if not self.containers and self.image is None:
            raise_problems([((), '"image" is missing (or "containers", for several)', None)])
        if self.containers and own:
            where = str(ContainerKeys.model_fields[own[0]].alias)
            message = 'with "containers", it belongs to one of them'
            raise_problems([((where,), message, ("spec", "containers"))])
        return self


class Workload(Manifest):
    """What is to run: a container, or several that belong together."""

    api_version: Literal["piccolo.io/v1"] = key("The version of this format.", ...)
    kind: Literal["Workload"] = key("The kind of this document.", ...)
    metadata: Metadata = key("What it is called.", ...)
    spec: WorkloadSpec = key("What is to run, where and how.", ...)

    def made(self, report: Report) -> core.Workload:
        """What is meant; `report` gets what is wrong beyond single keys."""
        spec, name, signal = self.spec, self.metadata.name, self.spec.stop.signal or ""
        containers = [c.container(c.name, signal) for c in spec.containers]
        backoff, update = spec.restart.backoff, spec.update
        made = core.Workload(
            name=name,
            containers=tuple(containers or [spec.container(name, signal)]),
            init_containers=tuple(c.container(c.name, signal) for c in spec.init_containers),
            labels=self.metadata.labels,
            restart=core.Restart(spec.restart.policy, backoff.initial, backoff.max),
            stop_grace=spec.stop.grace,
            depends_on=tuple(core.Dependency(d.workload, d.condition) for d in spec.depends_on),
            placement=core.Placement(
                tuple(dict.fromkeys(spec.placement.nodes)),
                spec.placement.labels,
                spec.placement.type,
                spec.placement.role,
            ),
            replicas=1 if spec.replicas is None else spec.replicas,
            one_per_node=spec.one_per_node,
            update=core.Update(**update.model_dump()),
            on_node_loss=core.NodeLoss(spec.on_node_loss.action, spec.on_node_loss.after),
            on_isolation=core.Isolation(spec.on_isolation.action, spec.on_isolation.after),
            network=spec.network.made(),
        )
        check_workload(made, report, _LISTED if spec.containers else _ALONE)
        return made


_LISTED = Layout(("spec",), ("containers",))
_ALONE = Layout(("spec",), None)
