"""Starting: which of the copies that are on no node get one now.

A copy that a ready node still has, though it is not to have it any more, waits until that is gone;
its place elsewhere is kept. What has no place says why, node by node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from piccolo.core.planning.board import Board, Situation
from piccolo.core.planning.candidate import Candidate
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.instances import instance_key
from piccolo.core.workloads.workload import Workload


@dataclass(frozen=True, slots=True)
class Missing:
    """A copy that is on no node. Where nodes have one each, `node` is its node."""

    index: int
    node: Candidate | None = None


def missing_of(at: Situation, workload: Workload, assigned: Sequence[Assignment]) -> list[Missing]:
    if workload.one_per_node:
        have = {a.node_id for a in assigned}
        return [Missing(0, n) for i, n in at.eligible(workload).items() if i not in have]
    indexes = {a.index for a in assigned}
    return [Missing(i) for i in range(workload.replicas) if i not in indexes]


def start(board: Board, declared: Declared, missing: Sequence[Missing]) -> int:
    """Starts what has a node. So many start now, or soon."""
    at, workload, places = board.at, declared.workload, board.places
    name, needs, eligible = workload.name, at.needs(workload), at.eligible(workload)
    patient = workload.one_per_node or len(workload.placement.nodes) == 1
    coming = 0
    refused: list[Missing] = []
    for one in missing:
        key = instance_key(name, one.index)
        among = [one.node] if one.node else list(eligible.values())
        leaving = {i for i, k in board.leaving(name) if k == key and not one.node}
        if not leaving and refused and not one.node:
            refused.append(one)  # for the same reasons
            continue
        here = [n for n in among if {n.node_id} == leaving] if leaving else among
        node = places.best(key, name, needs, here, away=patient)
        if node is not None:
            board.start(declared, one.index, node, "it is on no node yet")
            coming += 1
        elif leaving or places.soon(key, needs, among):
            coming += 1
            if there := places.best(key, name, needs, among):  # it is kept for it
                places.take(there.node_id, key, name, needs)
        else:
            refused.append(one)
    if why := _why_unplaced(board, workload, refused):
        board.unplaced[name] = why
    return coming


def _why_unplaced(board: Board, workload: Workload, refused: Sequence[Missing]) -> str:
    """Which nodes refuse a copy, and why; empty: all have a node, or will have one soon."""
    key = instance_key(workload.name, refused[0].index if refused else 0)
    needs, placement = board.at.needs(workload), workload.placement
    if workload.one_per_node:
        nowhere = not board.at.eligible(workload)
        asked = None if nowhere else [one.node for one in refused if one.node]
        why = board.places.refusals(key, needs, placement, asked)
        return f"not on all nodes: {why}" if why else ""
    if not refused:
        return ""
    why = board.places.refusals(key, needs, placement)
    return f"no node for {len(refused)} of {workload.replicas}: {why}"
