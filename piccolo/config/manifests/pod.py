"""Kubernetes' PodSpec, which Pullpiri's Models have as well → a workload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from piccolo.config.document import Path
from piccolo.config.fields import Labels, Name
from piccolo.config.manifests.base import Ignored, Manifest, Report, key, only_false
from piccolo.config.manifests.kubernetes_container import ContainerSpec
from piccolo.config.manifests.kubernetes_volumes import Volume, Volumes, devices_apart
from piccolo.config.manifests.rules import Layout, check_workload
from piccolo.config.manifests.values import MAX_ITEMS, HostName, Id, Ip
from piccolo.config.manifests.workload import MAX_CONTAINERS
from piccolo.core.words import show
from piccolo.core.workloads import containers
from piccolo.core.workloads import workload as core

_HOST_LABEL = "kubernetes.io/hostname"


class PodSecurityContext(Manifest):
    REFUSED: ClassVar = {
        "fsGroup": "set the owner of the volume on the node",
        "fsGroupChangePolicy": "set the owner of the volume on the node",
        "supplementalGroups": "use runAsGroup",
        "sysctls": "set them on the node",
        "seLinuxOptions": "Podman's own label is used",
        "windowsOptions": "there is no Windows here",
        "appArmorProfile": "Podman's own profile is used",
    }
    run_as_user: Id | None = key("Number of the user; without it the images'.")
    run_as_group: Id | None = key("Number of the group.")
    run_as_non_root: bool = key("True: each needs a runAsUser that is not root.", False)
    seccomp_profile: Annotated[Any, Ignored("Podman's own profile is used")] = None

    def user(self) -> str:
        user = "" if self.run_as_user is None else str(self.run_as_user)
        return user if self.run_as_group is None else f"{user or '0'}:{self.run_as_group}"


class HostAlias(Manifest):
    ip: Ip = key("The address.", ...)
    hostnames: Annotated[list[HostName], Field(max_length=MAX_ITEMS)] = key("Its names.", ...)


class DnsOption(Manifest):
    name: str = key("Of resolv.conf(5).", ...)
    value: str | None = key("Its value.")


class DnsConfig(Manifest):
    nameservers: Annotated[list[Ip], Field(max_length=8)] = key("Addresses.", [])
    searches: Annotated[list[HostName], Field(max_length=32)] = key("Domains to try.", [])
    options: Annotated[list[DnsOption], Field(max_length=32)] = key("Of resolv.conf(5).", [])


_NO_ACCOUNTS = Ignored("pods have no access to the master")
_NO_PRIORITY = Ignored("all workloads are equal")
_ALONE = "a pod sees its own processes only"


class PodSpec(Manifest):
    REFUSED: ClassVar = {
        "affinity": "use nodeName or nodeSelector",
        "topologySpreadConstraints": "use nodeName or nodeSelector",
        "imagePullSecrets": "log in on the nodes: podman login",
        "runtimeClassName": "each node has one runtime",
        "activeDeadlineSeconds": "end the program by itself",
        "ephemeralContainers": "use podman exec on the node",
        "readinessGates": "use readinessProbe",
        "subdomain": "use hostname",
        "os": "use nodeSelector",
        "overhead": "use resources",
        "resourceClaims": "there are no resource claims",
        "schedulingGates": "it is placed at once",
    }
    containers: Annotated[list[ContainerSpec], Field(min_length=1, max_length=MAX_CONTAINERS)] = (
        key("They share a network and are placed together.", ...)
    )
    init_containers: Annotated[list[ContainerSpec], Field(max_length=MAX_CONTAINERS)] = key(
        "Run to their end before, one after the other.", []
    )
    volumes: Annotated[list[Volume], Field(max_length=MAX_ITEMS)] = key("For volumeMounts.", [])
    restart_policy: Annotated[core.RestartPolicy, Field(strict=False)] = key(
        "Which containers that ended are started again.", core.RestartPolicy.ALWAYS
    )
    termination_grace_period_seconds: Annotated[int, Field(ge=0, le=86400)] = key(
        "From the stop signal until they are killed.", 30
    )
    node_name: Name | None = key("The node it is to run on.")
    node_selector: Labels = key("Labels of the nodes it may run on.", {})
    host_network: bool = key("Whether it uses the node's network.", False)
    hostname: HostName | None = key("The host name inside.")
    host_aliases: Annotated[list[HostAlias], Field(max_length=MAX_ITEMS)] = key("Further.", [])
    dns_config: DnsConfig = key("How names are looked up.", DnsConfig())
    security_context: PodSecurityContext = key("Of all containers.", PodSecurityContext())
    host_pid: Annotated[bool, only_false(_ALONE)] = key("Must be false.", False, alias="hostPID")
    host_ipc: Annotated[bool, only_false(_ALONE)] = key("Must be false.", False, alias="hostIPC")
    share_process_namespace: Annotated[
        bool, only_false("each container sees its own processes only")
    ] = key("Must be false.", False)
    dns_policy: Annotated[Any, Ignored("names are looked up as on the node, or by dnsConfig")] = (
        None
    )
    enable_service_links: Annotated[Any, Ignored("there are no services")] = None
    service_account: Annotated[Any, _NO_ACCOUNTS] = None
    service_account_name: Annotated[Any, _NO_ACCOUNTS] = None
    automount_service_account_token: Annotated[Any, _NO_ACCOUNTS] = None
    scheduler_name: Annotated[Any, Ignored("there is one scheduler")] = None
    tolerations: Annotated[Any, Ignored("nodes have no taints")] = None
    priority: Annotated[Any, _NO_PRIORITY] = None
    priority_class_name: Annotated[Any, _NO_PRIORITY] = None
    preemption_policy: Annotated[Any, _NO_PRIORITY] = None

    def made(
        self, name: str, labels: Mapping[str, str], report: Report, path: Path, **more: Any
    ) -> core.Workload:
        """`path`: where this is in the document; `more`: further fields of the workload."""
        volumes, user = Volumes(self.volumes, report, path), self.security_context.user()
        not_root = self.security_context.run_as_non_root

        def all_of(where: str, specs: list[ContainerSpec]) -> tuple[containers.Container, ...]:
            found = []
            for index, spec in enumerate(specs):
                here = (*path, where, index)
                mounts = volumes.mounts(spec, here)
                found.append(spec.made(mounts, user, here, report, not_root=not_root))
            return tuple(found)

        found = core.Workload(
            name=name,
            containers=all_of("containers", self.containers),
            init_containers=all_of("initContainers", self.init_containers),
            labels=labels,
            restart=core.Restart(self.restart_policy),
            stop_grace=float(self.termination_grace_period_seconds),
            placement=self._placement(report, path),
            network=self._network(),
            **more,
        )
        volumes.check()
        check_workload(found, report, Layout(path, ("containers",), mounts="volumeMounts"))
        return devices_apart(found)

    def _placement(self, report: Report, path: Path) -> core.Placement:
        labels = dict(self.node_selector)
        node = labels.pop(_HOST_LABEL, None)
        names = tuple(dict.fromkeys(n for n in (self.node_name, node) if n))
        if len(names) > 1:
            report.problem((*path, "nodeName"), f"nodeSelector asks for {show(node)} instead")
        return core.Placement(names, labels)

    def _network(self) -> core.Network:
        dns = self.dns_config
        return core.Network(
            mode=core.NetworkMode.HOST if self.host_network else core.NetworkMode.BRIDGE,
            hostname=self.hostname or "",
            hosts={name: alias.ip for alias in self.host_aliases for name in alias.hostnames},
            dns_servers=tuple(dns.nameservers),
            dns_searches=tuple(dns.searches),
            dns_options=tuple(
                o.name if o.value is None else f"{o.name}:{o.value}" for o in dns.options
            ),
        )
