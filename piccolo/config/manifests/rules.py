"""What must hold between the keys of a workload, in whatever format it came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from piccolo.config.document import Path
from piccolo.config.manifests.base import Report
from piccolo.config.units import format_duration
from piccolo.core.words import show
from piccolo.core.workloads.containers import Container, Port, Probes, Resources
from piccolo.core.workloads.workload import NetworkMode, OnIsolation, OnNodeLoss, Workload

MAX_FILES = 512 * 1024  # characters of content in all files of a workload


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a format keeps what: `containers` is below `spec`, None: the only one is `spec`."""

    spec: Path
    containers: Path | None
    init: Path = ("initContainers",)
    mounts: str = "mounts"

    def container(self, index: int) -> Path:
        return self.spec if self.containers is None else (*self.spec, *self.containers, index)

    def all(self, workload: Workload) -> list[tuple[Path, Container]]:
        init = [((*self.spec, *self.init, i), c) for i, c in enumerate(workload.init_containers)]
        return [*init, *((self.container(i), c) for i, c in enumerate(workload.containers))]


def check_workload(workload: Workload, report: Report, layout: Layout) -> None:
    """Tells `report` all that is wrong between keys that are each right by themselves."""
    everything = layout.all(workload)
    names = [((*path, "name"), c.name) for path, c in everything]
    _once(names, report, "is the name of another container of this workload already")
    for path, container in everything:
        _check_paths(container, path, layout.mounts, report)
        _check_resources(container.resources, (*path, "resources"), report)
    for index, container in enumerate(workload.init_containers):
        if container.probes != Probes():
            path = (*layout.spec, *layout.init, index)
            report.problem(path, "an init container cannot have probes: it ends by itself")
    _check_files(workload, report, layout)
    _check_ports(workload, report, layout)
    _check_cluster(workload, report, layout.spec)


def _once(items: Iterable[tuple[Path, object]], report: Report, what: str) -> None:
    first: dict[object, Path] = {}
    for path, value in items:
        if value in first:
            report.problem(path, f"{show(value)} {what}", first[value])
        first.setdefault(value, path)


def _check_paths(container: Container, path: Path, mounts: str, report: Report) -> None:
    places = [((*path, mounts, i), m.path) for i, m in enumerate(container.mounts)]
    places += [((*path, "files", i), f.path) for i, f in enumerate(container.files)]
    _once(places, report, "is a mount or file of this container already")
    ports = [((*path, "ports", i, "name"), p.name) for i, p in enumerate(container.ports) if p.name]
    _once(ports, report, "is the name of another port of this container already")


def _check_resources(resources: Resources, path: Path, report: Report) -> None:
    for name in ("cpu", "memory"):
        limit, reserved = getattr(resources, name), getattr(resources, f"reserved_{name}")
        if limit and reserved > limit:
            report.problem(path, f"more {name} is set aside than it may use")


def _check_files(workload: Workload, report: Report, layout: Layout) -> None:
    size = 0
    for path, container in layout.all(workload):
        for index, file in enumerate(container.files):
            size += len(file.content)
            if size > MAX_FILES:
                report.problem(
                    (*path, "files", index),
                    f"with it, the files of this workload have {size // 1024} KiB; at most"
                    f" {MAX_FILES // 1024} KiB are possible: put large ones into the image or a"
                    " volume",
                )
                return


def _check_ports(workload: Workload, report: Report, layout: Layout) -> None:
    ports = [
        ((*layout.container(i), "ports", j), port)
        for i, container in enumerate(workload.containers)
        for j, port in enumerate(container.ports)
    ]
    inside = [(path, f"{p.container_port}/{p.protocol}") for path, p in ports]
    _once(inside, report, "is listened on already: the containers of a workload share a network")
    published: list[tuple[Path, Port]] = []
    for path, port in ports:
        if not port.host_port:
            continue
        here = (*path, "hostPort")
        mode = workload.network.mode
        if mode is NetworkMode.NONE:
            report.problem(here, "without a network no port can be published")
        elif mode is NetworkMode.HOST and port.host_port != port.container_port:
            report.problem(here, "with the node's network it must be the same as containerPort")
        taken = next((p for p, other in published if _collide(port, other)), None)
        if taken is not None:
            text = f"{port.host_port}/{port.protocol}"
            report.problem(here, f"{show(text)} of the node is taken already", taken)
        published.append((path, port))
    nodes = workload.placement.nodes
    if published and nodes and not workload.one_per_node and workload.replicas > len(nodes):
        report.problem(
            (*published[0][0], "hostPort"),
            f"{workload.replicas} replicas cannot all have this port: they may run on"
            f" {len(nodes)} node{'s' if len(nodes) > 1 else ''} only",
        )


def _collide(one: Port, other: Port) -> bool:
    everywhere = {"", "0.0.0.0", "::"}
    same = one.host_ip == other.host_ip or bool({one.host_ip, other.host_ip} & everywhere)
    return same and (one.host_port, one.protocol) == (other.host_port, other.protocol)


def _check_cluster(workload: Workload, report: Report, spec: Path) -> None:
    restart = workload.restart
    if restart.backoff_initial > restart.backoff_max:
        report.problem((*spec, "restart", "backoff"), '"initial" is longer than "max"')
    needed = [((*spec, "dependsOn", i), d.workload) for i, d in enumerate(workload.depends_on)]
    _once(needed, report, "is depended on already")
    loss, isolation = workload.on_node_loss, workload.on_isolation
    stops = isolation.action is OnIsolation.STOP
    if loss.action is OnNodeLoss.RELOCATE and stops and workload.twice:
        gone = format_duration(isolation.after + workload.stop_grace)
        report.problem(
            (*spec, "onNodeLoss"),
            f"it would be started elsewhere after {format_duration(loss.after)}, when it may still"
            f" run on the node that is cut off, which is through with stopping it after {gone}"
            " (onIsolation.after and stop.grace): make onNodeLoss.after longer",
        )
    if workload.network.name and workload.network.mode is not NetworkMode.BRIDGE:
        report.problem((*spec, "network", "name"), 'only with "mode: bridge"')
