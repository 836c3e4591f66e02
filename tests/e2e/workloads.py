"""Workloads of a lab: their documents, what the master says of them, and what is on the nodes."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from piccolo.cli.show.workload_rows import workload_dict
from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    LABEL_INSTANCE,
    LABEL_NODE,
    LABEL_WORKLOAD,
)
from piccolo.rpc import wire
from tests.e2e.asking import ask, events, nodes
from tests.lab.cluster import Lab
from tests.lab.podman import HELLO

T = TypeVar("T")
Document = Mapping[str, Any]

PATIENCE = 20.0  # s to wait for anything at all
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait $!"]
_number = itertools.count()


def workload(name: str, *nodes: str, **spec: Any) -> Document:
    """A native document: one container that greets, on the host's network, quick to stop."""
    base: dict[str, Any] = {"network": {"mode": "host"}, "stop": {"grace": "1s"}}
    if "containers" not in spec:
        base["image"] = HELLO
    if nodes:
        base["placement"] = {"nodes": list(nodes)}
    return {
        "apiVersion": "piccolo.io/v1",
        "kind": "Workload",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def text_of(documents: Iterable[Document]) -> str:
    """As one file. JSON is YAML too."""
    return "\n---\n".join(json.dumps(document) for document in documents)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


@dataclass(frozen=True, slots=True)
class Copy:
    """A container of a workload, as the Podman of its node has it."""

    node: str
    name: str
    id: str
    state: str
    pid: int  # 0: it does not run
    workload: str
    instance: str
    container: str
    hash: str

    @property
    def run(self) -> tuple[str, int]:
        """What stays the same for as long as nobody touches it."""
        return self.id, self.pid


class Cluster:
    """What a person with `piccolo` and a look at each node's Podman finds out."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._ids: dict[str, str] = {}  # of nodes

    # ---- asking for something ----

    def apply(
        self, *documents: Document, options: tuple[str, ...] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.piccolo("apply", "-f", self.write(*documents), *options, check=check)

    def start(self, *documents: Document) -> None:
        """Ask, and do not wait. Without the program, which takes a while to start."""
        assert self.problems(text_of(documents)) == []

    def problems(self, text: str) -> list[str]:
        """What the master says to documents; nothing: it took them."""
        request = wire.ApplyRequest(sources=[wire.Source(name="test.yaml", text=text.encode())])
        reply = ask(self.lab, lambda stub: stub.apply(request), PATIENCE)
        return [f"{p.line}:{p.column}: {p.message}" for p in reply.problems]

    def delete(self, *names: str) -> None:
        """Have them go, and wait until they are gone."""
        request = wire.DeleteWorkloadsRequest(names=list(names))
        ask(self.lab, lambda stub: stub.delete_workloads(request), PATIENCE)
        until(lambda: not self.all().keys() & set(names), 2 * PATIENCE)

    def piccolo(
        self, *args: str, check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        return self.lab.piccolo(*args, check=check, timeout=timeout)

    def write(self, *documents: Document) -> str:
        """As a file; returns its path."""
        path = self.lab.master.dir / f"documents-{next(_number)}.yaml"
        path.write_text(text_of(documents))
        return str(path)

    # ---- what the master says ----

    def all(self) -> dict[str, dict[str, Any]]:
        """All workloads by name, as `piccolo get workloads -o json` has them."""
        reply = ask(self.lab, lambda stub: stub.get_workloads(wire.GetWorkloadsRequest()))
        return {w.name: workload_dict(w) for w in reply.workloads}

    def get(self, name: str) -> dict[str, Any]:
        """Empty: there is none."""
        return self.all().get(name, {})

    def status(self, name: str, index: int = 0) -> dict[str, Any]:
        """Of one instance, as its agent said last; empty: it said nothing of it."""
        for instance in self.get(name).get("instances", ()):
            if instance["index"] == index:
                found: dict[str, Any] = instance["status"] or {}
                return found
        return {}

    def happened(self, subject: str) -> list[dict[str, Any]]:
        """The events about an instance, or anything else, oldest first."""
        return [event for event in events(self.lab) if event["subject"] == subject]

    def reasons(self, subject: str) -> list[str]:
        return [event["reason"] for event in self.happened(subject)]

    def wait(self, name: str, within: float = PATIENCE, **wanted: Any) -> dict[str, Any]:
        """Until the status of instance 0 is so; returns it."""

        def holds() -> bool:
            seen.update(self.status(name))
            return all(seen.get(key) == value for key, value in wanted.items())

        seen: dict[str, Any] = {}
        until(holds, within, lambda: f"{name} is {seen}, not {wanted}")
        return seen

    def wait_settled(self, *names: str, within: float = PATIENCE) -> None:
        """Until all of these are as asked; without names: all that there are."""

        def holds() -> bool:
            found = self.all()
            unsettled.clear()
            for name in names or found:
                of = found.get(name, {})
                if not of.get("settled") or of["failed"]:
                    unsettled[name] = of
            return not unsettled

        unsettled: dict[str, Any] = {}
        until(holds, within, lambda: f"not as asked: {unsettled}")

    # ---- what there really is ----

    def copies(self, node: str, workload: str = "") -> dict[str, Copy]:
        """Containers that the node's agent made, by name."""
        if node not in self._ids:
            self._ids[node] = nodes(self.lab)[node]["id"]
        found = [
            _copy(node, c)
            for c in self.lab.podman[node].containers()
            if LABEL_CONTAINER in (c["Labels"] or {}) and c["Labels"][LABEL_NODE] == self._ids[node]
        ]
        return {copy.name: copy for copy in found if workload in ("", copy.workload)}

    def copy(self, node: str, workload: str) -> Copy:
        """The one container of the workload there."""
        [copy] = self.copies(node, workload).values()
        return copy

    def execute(self, node: str, container: str, *command: str) -> str:
        return self.lab.podman[node].podman("exec", container, *command).stdout


def _copy(node: str, container: Mapping[str, Any]) -> Copy:
    labels = container["Labels"]
    return Copy(
        node,
        container["Names"][0],
        container["Id"],
        container["State"],
        container["Pid"],
        labels.get(LABEL_WORKLOAD, ""),
        labels.get(LABEL_INSTANCE, ""),
        labels[LABEL_CONTAINER],
        labels.get(LABEL_HASH, ""),
    )


def assert_nothing_is_left(cluster: Cluster) -> None:
    """Of all that there is, once it is deleted; and nothing in the logs that must not be."""
    cluster.delete(*cluster.all())
    for name, podman in cluster.lab.podman.items():
        for what in ("ps --all", "pod ls", "volume ls"):
            assert podman.podman(*what.split(), "--quiet").stdout == "", (name, what)
    for program in (cluster.lab.master_proc, *cluster.lab.agents.values()):
        assert program is not None
        assert "Traceback" not in program.output(), program.error("has a traceback")


def until(
    holds: Callable[[], T], within: float = PATIENCE, story: Callable[[], str] = lambda: ""
) -> T:
    """What `holds` returns as soon as that is true; gentler than `asking.eventually`, as several
    labs have two processors. Fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < deadline, f"after {within:g} s: {story() or found!r}"
        time.sleep(0.2)
    return found
