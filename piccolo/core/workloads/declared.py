"""What the cluster was told to run, and where: the durable half of workloads.

`Declared` and its `Past` are what people asked for; an `Assignment` is the master's decision that
a copy of it belongs to a node. All three are promises: committed, never observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from piccolo.core.workloads.workload import Workload


@dataclass(frozen=True, slots=True)
class Declared:
    """A workload as it is meant to be now."""

    workload: Workload
    generation: int  # of the spec: 1, and one more with each change of it
    created_at: datetime
    changed_at: datetime  # when this generation came
    by: str = ""  # who asked for it, "role:name"
    cause: str = ""  # apply | rollback to 3 | …
    active: bool = True  # False: a held workload that no action has launched
    restarts: int = 0  # how often `piccolo restart` asked for fresh containers
    deleting_since: datetime | None = None  # it goes, dependents first


@dataclass(frozen=True, slots=True)
class Past:
    """A generation of a workload's spec, kept for history and rollback."""

    workload: Workload
    generation: int
    at: datetime
    by: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Copy `index` of a workload belongs to a node, in this generation of its spec."""

    workload: str
    index: int
    node_id: str
    generation: int
    restarts: int = 0

    @property
    def key(self) -> str:
        return f"{self.workload}.{self.index}"
