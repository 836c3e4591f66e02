"""What the rules take for a job that ran twice, and for a first start.

`./dev simulate` shows that nothing breaks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from piccolo.agent.workloads.desired import Held
from piccolo.core.model import Container as Listed
from piccolo.core.workloads.containers import Container
from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    LABEL_INSTANCE,
    LABEL_NODE,
    LABEL_WORKLOAD,
    Instance,
)
from piccolo.core.workloads.workload import (
    Dependency,
    Restart,
    RestartPolicy,
    Workload,
)
from tests.simulation.rules import UNDER_WAY, Rules

JOB = Workload("w", (Container("main", "job"),), restart=Restart(RestartPolicy.NEVER))
HELD = Held("w.0", 1, Instance(JOB, 0, 1, "h"), {})
NEEDY = Held("w.0", 2, Instance(replace(JOB, depends_on=(Dependency("db"),)), 0, 2, "h"), {})
TWICE = ["n0 runs w.0 main h a second time, with policy Never"]


@dataclass
class Node:
    """A node, its runtime, and what is told to it."""

    rules: Rules
    id: str = "id-n0"
    name: str = "n0"
    containers: list[Listed] = field(default_factory=list)

    @property
    def runtime(self) -> Node:
        return self

    def ours(self) -> list[Listed]:
        return self.containers

    def hold(self, held: Held | None) -> None:
        self.rules.desired(self, {"w.0": held} if held else {})

    def create(self, id: str, name: str = "main") -> Listed:
        labels = {
            LABEL_CONTAINER: name,
            LABEL_HASH: "h",
            LABEL_INSTANCE: "w.0",
            LABEL_NODE: self.id,
            LABEL_WORKLOAD: "w",
        }
        self.containers = [Listed(id, f"w.0.{name}", state="running", labels=labels)]
        self.rules.created(self, self.containers[0])
        return self.containers[0]


def _node() -> Node:
    return Node(Rules(lambda text: None, lambda: 0.0))


def test_a_job_declared_anew_runs_anew_once() -> None:
    """Its start may overtake that it was deleted: so late, it is still that of the deleted one."""
    node = _node()
    node.hold(HELD)
    deleted = node.create("1")
    node.hold(None)
    node.hold(HELD)
    node.rules.started(node, deleted)
    anew = node.create("2")
    node.rules.started(node, anew)
    assert node.rules.broken == []
    node.rules.started(node, anew)
    assert node.rules.broken == TWICE


def test_a_job_runs_once_in_whatever_container() -> None:
    node = _node()
    node.hold(HELD)
    node.rules.started(node, node.create("1"))
    node.hold(HELD)
    node.rules.started(node, node.create("2"))
    assert node.rules.broken == TWICE


def test_a_container_that_is_kept_is_not_started_anew() -> None:
    """The job was deleted and declared anew before anything of it was removed."""
    node = _node()
    node.hold(HELD)
    kept = node.create("1")
    node.rules.started(node, kept)
    node.hold(None)
    node.hold(HELD)
    node.rules.started(node, kept)
    assert node.rules.broken == TWICE


def test_what_has_begun_is_not_held_back_by_a_new_dependency() -> None:
    """Even if nothing of it was there when that came: somebody had removed its init container."""
    node = _node()
    node.hold(HELD)
    node.rules.started(node, node.create("1", "init"))
    node.containers = []
    node.hold(NEEDY)
    node.rules.started(node, node.create("2", "init"))
    node.rules.started(node, node.create("3"))
    assert node.rules.broken == []


def test_what_is_declared_anew_waits_for_its_dependency() -> None:
    """Whatever ran of it before it was deleted, and even if that is started once more."""
    now = 0.0
    node = Node(Rules(lambda text: None, lambda: now))
    node.hold(HELD)
    deleted = node.create("1", "init")
    node.rules.started(node, deleted)
    node.hold(None)
    node.hold(NEEDY)
    node.rules.started(node, deleted)
    node.containers = []
    now = UNDER_WAY
    node.rules.started(node, node.create("2"))
    assert node.rules.broken == ["n0 starts w.0, but db was never running"]
