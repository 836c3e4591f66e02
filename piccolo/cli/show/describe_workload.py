"""`piccolo describe workload`: all that is known of one, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from piccolo.cli.output import Table, age, clean, paint, size
from piccolo.cli.show import rows
from piccolo.cli.show.spec import spec_of
from piccolo.cli.show.workload_rows import INSTANCE_COLUMNS, colour
from piccolo.config.units import format_duration
from piccolo.core.workloads.containers import Container, Mount, Port, Probes
from piccolo.core.workloads.workload import Placement, Workload
from piccolo.rpc import wire


def print_workload(reply: wire.GetWorkloadResponse) -> None:
    w = reply.workload or wire.Workload()
    for title, value in _about(w):
        _line(title, value)
    if reply.spec:
        spec = spec_of(reply.spec)
        for title, value in _asked(spec):
            _line(title, value)
        for container in (*spec.init_containers, *spec.containers):
            first = " (runs before the others)" if container in spec.init_containers else ""
            print(f"\nContainer {clean(container.name)}{first}")
            for title, value in _container(container):
                _line(f"  {title}", value)
    if w.instances:
        print()
        Table(INSTANCE_COLUMNS, False).print(w.instances)
    if reply.containers:
        print()
        Table(rows.CONTAINER_COLUMNS, False).print(reply.containers)
    if reply.events:
        print()
        Table(rows.EVENT_COLUMNS, False).print(reply.events)


def _line(title: str, value: str) -> None:
    print(f"{title + ':':<14}{value}")


def _about(w: wire.Workload) -> Iterator[tuple[str, str]]:
    yield "Name", paint(clean(w.name), "bold")
    words = [paint(clean(w.state), colour(w))]
    words += ["it is being deleted"] if w.deleting else []
    words += ["held until an action launches it"] if w.held else []
    yield "State", ", ".join(words)
    because = ": ".join(part for part in (w.reason, w.message) if part)
    if because:
        yield "Reason", clean(because)
    updated = f"{w.updated} of generation {w.generation}"
    yield "Ready", f"{w.ready}/{w.wanted}, {updated}, {w.placed} on a node"
    yield "Restarts", str(w.restarts)
    yield "Generation", f"{w.generation}, {age(w.changed_at)} ago"
    yield "Created", f"{rows.time_text(w.created_at)} ({age(w.created_at)} ago)"
    if w.labels:
        yield "Labels", _pairs(w.labels)
    if w.package:
        yield "Package", clean(w.package)
    if w.depends_on:
        yield "Depends on", clean(", ".join(w.depends_on))


def _asked(spec: Workload) -> Iterator[tuple[str, str]]:
    yield "Copies", "one on each node" if spec.one_per_node else str(spec.replicas)
    if where := _placement(spec.placement):
        yield "Placement", where
    again = spec.restart
    pauses = f"{format_duration(again.backoff_initial)} to {format_duration(again.backoff_max)}"
    yield "Restart", f"{again.policy}, after pauses of {pauses}"
    yield "Update", f"{spec.update.strategy}, at most {spec.update.max_unavailable} away at a time"
    yield "Network", f"{spec.network.mode} {clean(spec.network.name) if spec.network.name else ''}"


def _placement(p: Placement) -> str:
    parts = []
    if p.nodes:
        parts.append(f"on {' or '.join(map(clean, p.nodes))}")
    if p.labels:
        parts.append(f"with {_pairs(p.labels)}")
    parts += [f"{name} {value}" for name, value in (("type", p.type), ("role", p.role)) if value]
    return ", ".join(parts)


def _container(c: Container) -> Iterator[tuple[str, str]]:
    yield "Image", clean(c.image)
    if words := (*c.command, *c.args):
        yield "Command", clean(" ".join(words))
    if c.ports:
        yield "Ports", ", ".join(map(_port, c.ports))
    if c.mounts:
        yield "Mounts", ", ".join(map(_mount, c.mounts))
    if c.env or c.secret_env:
        yield "Variables", clean(", ".join(sorted((*c.env, *c.secret_env))))
    if c.files:
        yield "Files", clean(", ".join(f.path for f in c.files))
    limits = [f"{c.resources.cpu:g} cores"] if c.resources.cpu else []
    limits += [size(c.resources.memory)] if c.resources.memory else []
    if limits:
        yield "At most", ", ".join(limits)
    if probes := [f.name for f in fields(Probes) if getattr(c.probes, f.name) is not None]:
        yield "Probes", ", ".join(probes)


def _port(p: Port) -> str:
    inside = f"{p.container_port}/{p.protocol}"
    if not p.host_port:
        return inside
    return f"{clean(p.host_ip) + ':' if p.host_ip else ''}{p.host_port} -> {inside}"


def _mount(m: Mount) -> str:
    source = f"{m.kind} {m.source}" if m.source else str(m.kind)
    return clean(f"{m.path} ({source}{', read-only' if m.read_only else ''})")


def _pairs(pairs: Mapping[str, str]) -> str:
    return clean(", ".join(f"{key}={value}" for key, value in pairs.items()))
