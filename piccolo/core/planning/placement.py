"""Placement: on which node a copy of a workload may run, and on which it runs best.

Pure, and the same for the same input. Where no node will do, every node gets its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from piccolo.core import words
from piccolo.core.planning.candidate import Candidate
from piccolo.core.planning.needs import Needs
from piccolo.core.planning.room import Room
from piccolo.core.workloads.workload import Placement

_NAMES = 3  # of nodes with the same reason, in a message
_REASONS = 4  # in a message


def mismatch(placement: Placement, node: Candidate) -> str:
    """Why placement keeps a workload off a node; empty: it does not."""
    if placement.nodes and node.name not in placement.nodes:
        return "is not among placement.nodes"
    for key, value in placement.labels.items():
        found = node.labels.get(key)
        if found is None:
            return f"has no label {key}"
        if found != value:
            return f"has the label {key}={found}, not {value}"
    if placement.type is not None and node.type is not placement.type:
        return f"is of type {node.type}, not {placement.type}"
    if placement.role is not None and node.role is not placement.role:
        return f"has the role {node.role}, not {placement.role}"
    return ""


class Places:
    """All nodes, and what is set aside on them."""

    def __init__(self, nodes: Iterable[Candidate]) -> None:
        """`nodes` in the order in which messages name them."""
        self._rooms = {node.node_id: Room(node) for node in nodes}

    def take(
        self, node_id: str, key: str, workload: str, needs: Needs, *, leaving: bool = False
    ) -> None:
        self._rooms[node_id].take(key, workload, needs, leaving=leaving)

    def leave(self, node_id: str, key: str) -> None:
        """It is about to be stopped, and in the way until then."""
        self._rooms[node_id].leave(key)

    def still(self, node_id: str, key: str, needs: Needs) -> None:
        """It has this too, besides its share, until it has changed."""
        self._rooms[node_id].still(key, needs)

    def lacks(self, node_id: str, key: str, needs: Needs, *, later: bool = False) -> str:
        """Why an instance does not fit there; empty: it does, at least once others have changed.
        What it has itself is not in its way, nor, `later`, what is about to be stopped."""
        return self._rooms[node_id].lacks(key, needs, later=later)

    def waits_for(self, node_id: str, key: str, needs: Needs) -> set[str]:
        """Those that have to change before there is room for it: what they have still is in the
        way."""
        return self._rooms[node_id].waits_for(key, needs)

    def best(
        self,
        key: str,
        workload: str,
        needs: Needs,
        among: Iterable[Candidate],
        *,
        away: bool = False,
    ) -> Candidate | None:
        """The node where a copy runs best: apart from others of its workload first.

        Nodes that are not ready are out of the question, but for those that wait for them, `away`.
        """
        rooms = (self._rooms[n.node_id] for n in among if n.ready or away)
        fitting = [r for r in rooms if not r.lacks(key, needs) and not r.waits_for(key, needs)]
        return min(fitting, key=lambda room: room.rank(workload)).node if fitting else None

    def soon(self, key: str, needs: Needs, among: Iterable[Candidate]) -> bool:
        """Whether a ready node will do once what is to be stopped or changed there is."""
        return any(n.ready and not self.lacks(n.node_id, key, needs, later=True) for n in among)

    def refusals(
        self,
        key: str,
        needs: Needs,
        placement: Placement,
        among: Iterable[Candidate] | None = None,
    ) -> str:
        """Why no node will do, or none of these, with the same reasons put together."""
        nodes = [room.node for room in self._rooms.values()]
        if not nodes:
            return "the cluster has no nodes"
        known = {n.name for n in nodes}
        unknown = [name for name in placement.nodes if name not in known]
        reasons: dict[str, list[str]] = {}
        for node in nodes if among is None else among:
            if placement.nodes and node.name not in placement.nodes:
                continue
            why = mismatch(placement, node) or self.lacks(node.node_id, key, needs)
            if why or not node.ready:
                reasons.setdefault(why or "is not ready", []).append(node.name)
        return "; ".join(filter(None, (_unknown(unknown), _in_short(reasons))))


def _unknown(names: Sequence[str]) -> str:
    if not names:
        return ""
    what = "is no node" if len(names) == 1 else "are no nodes"
    quoted = [f'"{name}"' for name in names]
    return f"{words.some(quoted, _NAMES)} {what} of the cluster"


def _in_short(reasons: Mapping[str, Sequence[str]]) -> str:
    parts: list[str] = []
    for why, names in list(reasons.items())[:_REASONS]:
        parts.append(f"{words.some(names, _NAMES)}: {why if len(names) == 1 else _plural(why)}")
    if left := sum(len(names) for names in list(reasons.values())[_REASONS:]):
        parts.append(f"and {left} more")
    return "; ".join(parts)


def _plural(why: str) -> str:
    """What is said of one node, of several."""
    for one, several in _PLURALS.items():
        if why.startswith(one):
            return several + why.removeprefix(one)
    return why


_PLURALS = {"has its ": "have their ", "has ": "have ", "is ": "are "}
