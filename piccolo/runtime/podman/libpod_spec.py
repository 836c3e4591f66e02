"""What we ask for, in libpod's words: the specifications that `/containers/create`,
`/pods/create` and `/volumes/create` take.

Pure. Decided here, for all containers:

* No restart policy: the agent restarts, and says so.
* No health check, not even the image's: each of its runs is a new Podman process, started by a
  timer of systemd's; the probes of workloads are the agent's.
* Logs are kept in a file of bounded size, which can be read whatever the node's default is.
* Capabilities are what is asked for, not Podman's default set; a limit of memory is one of memory
  and swap together.
* In a network of its own a container may listen on any port, without CAP_NET_BIND_SERVICE: nothing
  is gained by forbidding it there.
* With SELinux, files of ours are labelled so that containers may read them. Paths of the node that
  a document names are left as they are: relabelling somebody else's files can break the node.

Source: `SpecGenerator` and `PodSpecGenerator` of Podman 4 (pkg/specgen).
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from typing import Any

from piccolo.core.workloads.containers import Container, Mount, MountKind, Port, Resources, Security
from piccolo.core.workloads.workload import Network, NetworkMode
from piccolo.runtime.base import ContainerRequest, PodRequest

LOG_BYTES = 10_000_000  # of one container
_PERIOD_US = 100_000

Spec = dict[str, Any]


def container(request: ContainerRequest) -> Spec:
    """The body of `/containers/create`."""
    asked = request.container
    spec: Spec = {
        "name": request.name,
        "image": asked.image,
        "labels": {**request.labels},
        "env": {**asked.env, **request.secret_env},
        "restart_policy": "no",
        "healthconfig": {"Test": ["NONE"]},
        "log_configuration": {"driver": "k8s-file", "size": LOG_BYTES},
        "mounts": _mounts(request),
        "volumes": _volumes(request),
        **_process(asked),
        **_security(asked.security),
        **_limits(asked.resources),
    }
    if asked.devices:
        spec["devices"] = [{"path": f"{d.source}:{d.path}:{d.permissions}"} for d in asked.devices]
    if request.pod:
        spec["pod"] = request.pod
    if request.network is not None:
        spec |= _network(request.network, asked.ports)
    return spec


def pod(request: PodRequest) -> Spec:
    """The body of `/pods/create`."""
    return {
        "name": request.name,
        "labels": {**request.labels},
        **_network(request.network, request.ports),
    }


def volume(name: str, labels: Mapping[str, str]) -> Spec:
    """The body of `/volumes/create`."""
    return {"Name": name, "Label": {**labels}}


def scratch_volumes(request: ContainerRequest) -> list[str]:
    """The names of the scratch volumes that have to be there."""
    mounts = request.container.mounts
    return [request.scratch + m.source for m in mounts if m.kind is MountKind.SCRATCH]


def _process(asked: Container) -> Spec:
    """As in Kubernetes: arguments without a command are those of the image's entry point."""
    spec: Spec = {}
    if asked.command:
        spec["entrypoint"] = [*asked.command]
    if asked.args:
        spec["command"] = [*asked.args]
    if asked.working_dir:
        spec["work_dir"] = asked.working_dir
    if asked.stop_signal:
        spec["stop_signal"] = _signal(asked.stop_signal)
    return spec


def _signal(name: str) -> int:
    base, _, offset = name.partition("+")  # SIGRTMIN+3
    return signal.Signals[base] + int(offset or 0)


def _security(asked: Security) -> Spec:
    spec: Spec = {
        "privileged": asked.privileged,
        "read_only_filesystem": asked.read_only_root,
        # A privileged container may do anything: to forbid it this alone would be for show.
        "no_new_privileges": not (asked.new_privileges or asked.privileged),
    }
    if asked.user:
        spec["user"] = asked.user
    if not asked.privileged:
        spec["cap_drop"] = [*asked.drop]
        spec["cap_add"] = [*asked.add]
    return spec


def _limits(asked: Resources) -> Spec:
    limits: Spec = {}
    if asked.cpu:
        quota = max(round(asked.cpu * _PERIOD_US), 1000)  # the kernel takes no less
        limits["cpu"] = {"quota": quota, "period": _PERIOD_US}
    if asked.memory:
        limits["memory"] = {"limit": asked.memory, "swap": asked.memory}
    if asked.pids:
        limits["pids"] = {"limit": asked.pids}
    return {"resource_limits": limits} if limits else {}


def _mounts(request: ContainerRequest) -> list[Spec]:
    binds = [_mount(b.path, "bind", b.source, "rbind", "ro", "z") for b in request.binds]
    return [*filter(None, map(_own_mount, request.container.mounts)), *binds]


def _own_mount(mount: Mount) -> Spec | None:
    access = "ro" if mount.read_only else "rw"
    if mount.kind is MountKind.HOST:
        return _mount(mount.path, "bind", mount.source, "rbind", access)
    if mount.kind is MountKind.TMPFS:
        size = [f"size={mount.size}"] if mount.size else []
        return _mount(mount.path, "tmpfs", "tmpfs", access, "nosuid", "nodev", "mode=1777", *size)
    return None


def _mount(path: str, kind: str, source: str, *options: str) -> Spec:
    return {"destination": path, "type": kind, "source": source, "options": [*options]}


def _volumes(request: ContainerRequest) -> list[Spec]:
    prefixes = {MountKind.VOLUME: "", MountKind.SCRATCH: request.scratch}
    return [
        {
            "Name": prefixes[mount.kind] + mount.source,
            "Dest": mount.path,
            "Options": ["ro"] if mount.read_only else [],
        }
        for mount in request.container.mounts
        if mount.kind in prefixes
    ]


def _network(asked: Network, ports: Iterable[Port]) -> Spec:
    spec: Spec = {"hostname": asked.hostname} if asked.hostname else {}
    if asked.mode is not NetworkMode.HOST:
        spec["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    if asked.mode is NetworkMode.NONE:
        return {**spec, "netns": {"nsmode": "none"}}
    if asked.mode is NetworkMode.HOST:
        spec["netns"] = {"nsmode": "host"}
    else:  # without a name it is Podman's default, which is another one without root
        if asked.name:
            spec["netns"] = {"nsmode": "bridge"}
            spec["Networks"] = {asked.name: {}}
        spec["portmappings"] = [_port(port) for port in ports if port.host_port]
    named = {
        "dns_server": [*asked.dns_servers],
        "dns_search": [*asked.dns_searches],
        "dns_option": [*asked.dns_options],
        "hostadd": [f"{name}:{address}" for name, address in asked.hosts.items()],
    }
    return spec | {key: value for key, value in named.items() if value}


def _port(port: Port) -> Spec:
    return {
        "container_port": port.container_port,
        "host_port": port.host_port,
        "host_ip": port.host_ip,
        "protocol": port.protocol.value,
    }
