"""A master and a node, set up as a newcomer does it, and how to ask them how they are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.lab.errors import LabError
from tests.machines.bundle import find_bundle
from tests.machines.machine import IMAGE, Machine

T = TypeVar("T")

AGENT, MASTER = "nodeagent.service", "piccolo-master.service"
READY_SECONDS = 30.0
WORKLOAD = f"""\
apiVersion: piccolo.io/v1
kind: Workload
metadata: {{name: greeter}}
spec:
  image: {IMAGE}
  command: [sh, -c, "trap 'exit 0' TERM; sleep 100000 & wait"]
"""


@dataclass(slots=True)
class Pair:
    """Two machines. `typed` is what a person typed to make a cluster of them."""

    master: Machine
    node: Machine
    typed: list[str] = field(default_factory=list)
    join: str = ""  # the line that makes a machine a node
    install_seconds: float = 0.0

    def install(self) -> None:
        """From two bare machines, with the bundle on the master's disk, to a node that is Ready."""
        bundle = find_bundle()
        self.master.copy_in(bundle, f"/root/{bundle.name}")
        begun = time.monotonic()
        top = bundle.name.removesuffix(".tar.gz")
        self._type(self.master, f"tar -xzf {bundle.name}")
        said = self._type(self.master, f"{top}/install_master.sh")
        join = [line.strip() for line in said.splitlines() if line.strip().startswith("curl ")]
        if len(join) != 1:
            raise LabError(f"the installer of the master prints no command to join by:\n{said}")
        self.join = join[0]
        self._type(self.node, self.join)
        self.wait_ready()
        self.install_seconds = time.monotonic() - begun

    def _type(self, machine: Machine, line: str) -> str:
        self.typed.append(line)
        return machine.type(line, timeout=120)

    def piccolo(self, *args: str) -> Any:
        """What `piccolo ARGS -o json` says on the master, decoded."""
        return json.loads(self.master.shell(f"piccolo {' '.join(args)} -o json"))

    def apply(self, document: str) -> None:
        self.master.run("piccolo", "apply", "-f", "-", input=document, timeout=90)

    def status(self) -> str:
        """Of the node; empty when there is none."""
        found = self.piccolo("get", "nodes")
        return found[0]["status"] if found else ""

    def identity(self) -> tuple[str, bytes]:
        """What makes the node the one it is: its id in the cluster, and its key."""
        key = self.node.path("/var/lib/piccolo/pki/node.key").read_bytes()
        return self.piccolo("get", "nodes")[0]["id"], key

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        self.wait_status("Ready", timeout)

    def wait_status(self, wanted: str, timeout: float = READY_SECONDS) -> None:
        until(self.status, lambda found: found == wanted, timeout, f"the node is {wanted}")

    def containers(self) -> list[str]:
        """Those of workloads that run on the node, by their ids."""
        list_them = "podman ps --quiet --no-trunc --filter label=io.piccolo.instance"
        return self.node.shell(list_them).split()

    def wait_container(self, timeout: float = READY_SECONDS) -> str:
        """Wait until there is exactly one; return its id."""
        found = until(self.containers, lambda ids: len(ids) == 1, timeout, "one container runs")
        return found[0]


def until(look: Callable[[], T], good: Callable[[T], bool], timeout: float, what: str) -> T:
    """Look until it is good. Raises `LabError` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not good(found := look()):
        if time.monotonic() > deadline:
            raise LabError(f"not so after {timeout:g} s: {what}; instead: {found}")
        time.sleep(0.2)
    return found
