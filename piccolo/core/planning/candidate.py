"""A node, as far as placement is concerned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from piccolo.core.model import NodeRole, NodeType, Resources


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where a copy of a workload might run."""

    node_id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    role: NodeRole = NodeRole.SUB
    type: NodeType = NodeType.EMBEDDED
    resources: Resources = field(default_factory=Resources)
    ready: bool = True
