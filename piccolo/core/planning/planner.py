"""The planner of workloads: from what is declared and what is seen to the steps that are due now.

What it guarantees:

* It decides by its input alone, and the same input gives the same plan.
* When the steps are carried out and nothing else changed, there is nothing left to do.
* A copy stays on its node while that node exists and its placement allows it, also while the node
  is away: it learns what it missed when it is back.
* A copy is not started elsewhere while a ready node still has it, or may have it.
* Nothing starts where it would lack what an earlier spec of another copy still has.

The steps change assignments only. Agents do the rest, and what they report leads to the next plan.
Where copies run best stands in `placement`, which may change at a time in `rollout`, in which order
deleted workloads go in `core.workloads.dependencies`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from piccolo.core.planning.board import Board, Eligible, Situation
from piccolo.core.planning.candidate import Candidate
from piccolo.core.planning.copies import Seen, is_outdated, same_containers, tells_of
from piccolo.core.planning.placement import mismatch
from piccolo.core.planning.rollout import Copy, Health, health, must_last, rolling
from piccolo.core.planning.starting import Missing, missing_of, start
from piccolo.core.planning.steps import Step, Verb, applied, merged
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.core.workloads.dependencies import in_order
from piccolo.core.workloads.workload import UpdateStrategy, Workload

__all__ = ["Candidate", "Plan", "Step", "Verb", "applied", "plan"]

_ROUNDS = 20  # what stops makes room; two are usual, and the last one has no steps
_NONE: Mapping[str, str] = MappingProxyType({})
_NO_HISTORY: Mapping[str, Sequence[Past]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Plan:
    """At most one step for each instance on each node."""

    steps: tuple[Step, ...] = ()
    unplaced: Mapping[str, str] = field(default_factory=dict)  # workload: why a copy has no node
    gone: tuple[str, ...] = ()  # deleted, and nothing is left of them once the steps are done
    wake_after: float | None = None  # s until the next plan is due though nothing changed


def plan(
    declared: Mapping[str, Declared],
    assignments: Iterable[Assignment],
    nodes: Sequence[Candidate],
    seen: Seen,
    *,
    ready_for: Mapping[tuple[str, str], float],
    blocked: Mapping[str, str] = _NONE,
    history: Mapping[str, Sequence[Past]] = _NO_HISTORY,
    held: Iterable[tuple[str, str]] = (),
    lost: Collection[tuple[str, str]] = (),
) -> Plan:
    """What is to be done now.

    `seen` and `ready_for` (seconds that an instance has been well) are by node and instance key.
    `blocked` says of workloads why they cannot be sent to a node now; what runs of them stays.
    `history`: earlier generations of workloads, which copies that are not changed yet may have.
    `held`: what agents were told to run, or may be told while this plan is carried out, whether it
    was seen or not.
    `lost`: copies that their agents have not got, and cannot be told: a secret of them is gone.
    """
    current = tuple(assignments)
    at = Situation(declared, nodes, seen, ready_for, blocked, history, held, lost)
    steps: list[Step] = []
    for _ in range(_ROUNDS):
        board = Board(at, current)
        wake_after = _round(board)
        steps += board.steps
        current = applied(current, board.steps)
        if not board.steps:
            break
    left = {a.workload for a in current} | at.there.keys()
    gone = tuple(n for n, d in at.declared.items() if d.deleting_since and n not in left)
    return Plan(merged(steps), board.unplaced, gone, wake_after)


def _round(board: Board) -> float | None:
    """One look at all workloads: first what stops, then what changes, and what starts."""
    at = board.at
    for name, copies in board.assigned.items():
        if name not in at.declared:
            board.stop(copies, "it is no longer declared")
    deleting = {name: d for name, d in at.declared.items() if d.deleting_since}
    for name in in_order(deleting, board.assigned.keys(), at.there.keys() & deleting.keys()):
        board.stop(board.assigned.get(name, ()), "it is deleted")
    staying = [d for name, d in at.declared.items() if name not in deleting]
    kept = [(d, _keep(board, d)) for d in staying]
    wakes = [_bring_up(board, declared, copies) for declared, copies in kept if declared.active]
    return min((w for w in wakes if w is not None), default=None)


def _keep(board: Board, declared: Declared) -> list[Assignment]:
    """Stops the copies that nobody asks for. The others, by index."""
    workload, at = declared.workload, board.at
    copies = board.assigned.get(workload.name, [])
    if not declared.active:
        board.stop(copies, "no action has launched it")
        return []
    eligible = at.eligible(workload)
    wanted = 1 if workload.one_per_node else workload.replicas
    kept: dict[tuple[int, str], Assignment] = {}
    for a in sorted(copies, key=lambda a: _preference(a, at, eligible)):
        place = a.index, a.node_id if workload.one_per_node else ""
        if a.node_id not in at.nodes:
            board.stop([a], "its node is not in the cluster any more")
        elif workload.one_per_node and a.node_id not in eligible:
            board.stop([a], _why_not_there(at, workload, a))
        elif a.index >= wanted:
            board.stop([a], "fewer copies are asked for")
        elif place in kept:
            board.stop([a], "another node has the same copy")
        else:
            kept[place] = a
    return list(kept.values())


def _preference(
    a: Assignment, at: Situation, eligible: Eligible
) -> tuple[int, bool, bool, str, str]:
    """Of two nodes with the same copy the one stays that comes first by this."""
    node = at.nodes.get(a.node_id)
    ready, name = (node.ready, node.name) if node else (False, "")
    return a.index, a.node_id not in eligible, not ready, name, a.node_id


def _why_not_there(at: Situation, workload: Workload, a: Assignment) -> str:
    return f"its node {mismatch(workload.placement, at.nodes[a.node_id])}"


# ---- what changes, and what starts ----


def _bring_up(board: Board, declared: Declared, assigned: Sequence[Assignment]) -> float | None:
    """The seconds until it may be the turn of more copies."""
    workload, name = declared.workload, declared.workload.name
    missing = missing_of(board.at, workload, assigned)
    changed = {a for a in assigned if _is_to_change(board.at, declared, a)}
    held_up = name in board.at.blocked
    if held_up and (missing or changed or _untold(board.at, assigned)):
        board.unplaced[name] = board.at.blocked[name]
        return None
    many = len(assigned) + len(missing) > 1 or bool(board.leaving(name))
    if many and workload.update.strategy is UpdateStrategy.RECREATE:
        copies = [_judge(board, declared, a, changes=a in changed) for a in assigned]
        _recreate(board, declared, copies, missing)
        return None
    coming = start(board, declared, missing)
    copies = [_judge(board, declared, a, changes=a in changed) for a in assigned if changed]
    copies.sort(key=lambda c: board.swap_node(c.assignment))
    turn = rolling(workload.update, copies, coming)
    for copy in turn.now:
        _change(board, declared, copy)
    return turn.wake_after


def _is_to_change(at: Situation, declared: Declared, a: Assignment) -> bool:
    return is_outdated(a, declared) or a.node_id not in at.eligible(declared.workload)


def _untold(at: Situation, assigned: Iterable[Assignment]) -> bool:
    """Whether a copy is assigned, and its node does not say so."""
    for a in assigned:
        status = at.seen.get((a.node_id, a.key))
        if at.nodes[a.node_id].ready and (status is None or not tells_of(status, a)):
            return True
    return False


def _judge(board: Board, declared: Declared, a: Assignment, *, changes: bool) -> Copy:
    """How a copy is, and whether and how it can change."""
    at, workload = board.at, declared.workload
    node, place = at.nodes[a.node_id], (a.node_id, a.key)
    status, lasted = at.seen.get(place), at.ready_for.get(place, 0.0)
    must, lost = must_last(workload), place in at.lost
    well, lasts = health(a, status, lost=lost, ready=node.ready, lasted=lasted, must=must)
    copy = Copy(a, well, lasts)
    if not changes:
        return copy
    if a.node_id not in at.eligible(workload):
        return replace(copy, why=_why_not_there(at, workload, a), moves=True)
    why = "a restart was asked for"
    if a.generation != declared.generation:
        why = f"generation {a.generation} → {declared.generation}"
    if node.ready and status is not None:
        spec = at.spec_hash(workload)
        if same_containers(status, spec, declared.restarts):
            return replace(copy, why=f"{why}, its containers stay", same=True)
    lack = board.places.lacks(a.node_id, a.key, at.needs(workload))
    if not lack:
        waits = board.waits(a, at.needs(workload))
        return copy if waits else replace(copy, why=why)
    if node.ready and _elsewhere(board, workload, a) is not None:
        return replace(copy, why=f"its node {lack}", moves=True)
    if board.places.lacks(a.node_id, a.key, at.needs(workload), later=True):
        board.unplaced[workload.name] = f"{a.key} stays as it is: {node.name} {lack}"
    return copy


def _elsewhere(board: Board, workload: Workload, a: Assignment) -> Candidate | None:
    """A node for a copy that does not fit into its own any more."""
    if workload.one_per_node:
        return None
    others = [n for i, n in board.at.eligible(workload).items() if i != a.node_id]
    return board.places.best(a.key, workload.name, board.at.needs(workload), others)


def _recreate(
    board: Board, declared: Declared, copies: Sequence[Copy], missing: Sequence[Missing]
) -> None:
    """Stops all before it starts one. A node that is away does so for itself, when it is back."""
    if any(not c.why and is_outdated(c.assignment, declared) for c in copies):
        return  # this one could not be started again
    for copy in (c for c in copies if c.why):
        if copy.health is Health.AWAY or copy.same:
            _change(board, declared, copy)
        else:
            board.stop([copy.assignment], "all stop before the new ones start")
    if not board.leaving(declared.workload.name):
        start(board, declared, missing)


def _change(board: Board, declared: Declared, copy: Copy) -> None:
    a, workload = copy.assignment, declared.workload
    if not copy.moves:
        board.replace(declared, a, copy.why)
    elif a.node_id not in board.at.eligible(workload):
        board.stop([a], copy.why)
    elif there := _elsewhere(board, workload, a):  # another may have been faster
        board.places.take(there.node_id, a.key, a.workload, board.at.needs(workload))
        board.stop([a], copy.why)
