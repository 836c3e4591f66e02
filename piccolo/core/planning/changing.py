"""Copies that still have what an earlier spec of their workload asked for, such as a port.

Agents take the containers of before down only once the new ones may start. Until then others must
not count on their room. What cannot change keeps it: nobody else gets it. What can goes first, and
others wait for it. But where copies wait for each other in a circle, as when two swap their ports,
they all change at once: each agent frees what it has before it tries again to get the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from piccolo.core.planning.copies import is_outdated, is_well, tells_of
from piccolo.core.planning.needs import NOTHING, Needs, needs_of
from piccolo.core.planning.placement import Places
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.core.workloads.instances import InstanceStatus, Phase, spec_hash

_UNDER_WAY = (Phase.PULLING, Phase.STARTING, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class Changing:
    """A copy that has `still`, on top of what it needs."""

    node_id: str
    key: str
    workload: str
    needs: Needs
    still: Needs
    decided: bool  # it was told to change, or will be
    stuck: bool  # and cannot, for now

    @property
    def place(self) -> tuple[str, str]:
        return self.node_id, self.key


class Earlier:
    """What earlier generations needed, by the history of workloads."""

    def __init__(self, history: Mapping[str, Sequence[Past]]) -> None:
        self._history = history
        self._needs: dict[tuple[str, int], Needs] = {}
        self._hashes: dict[tuple[str, int], str] = {}
        self._made: dict[tuple[str, str], int | None] = {}  # generation, by hash of the spec

    def still(
        self, name: str, needs: Needs, status: InstanceStatus | None, generation: int | None = None
    ) -> Needs:
        """What the containers have that there are, or may be by now, beyond `needs`. `generation`:
        the one that it is to have."""
        found = NOTHING
        for one in self._may_have(name, status, generation):
            found += self._needs_of(name, one).beyond(needs + found)
        return found

    def _may_have(
        self, name: str, status: InstanceStatus | None, generation: int | None
    ) -> Iterable[int]:
        """Generations. A status is older than what its agent does: the one that it tells of may
        have got its first containers since, and so may each that was told after it."""
        made_of = self._made_of(name, status) if status is not None else None
        if made_of is not None:
            yield made_of
        heard = status.generation if status is not None else None
        told = [number for number in (heard, generation) if number is not None]
        for past in self._history.get(name, ()) if told else ():
            if min(told) <= past.generation <= max(told) and past.generation != made_of:
                yield past.generation

    def _made_of(self, name: str, status: InstanceStatus) -> int | None:
        """The generation that the containers were made from, if it is one of these."""
        spec = status.hash.partition("-")[0]
        if not spec:
            return None
        if (name, spec) not in self._made:
            pasts = self._history.get(name, ())
            # Mostly it is the one that the agent was told last, or the latest.
            likely = sorted(pasts, key=lambda p: (p.generation != status.generation, -p.generation))
            found = (p.generation for p in likely if self._hash_of(p) == spec)
            self._made[name, spec] = next(found, None)
        return self._made[name, spec]

    def _hash_of(self, past: Past) -> str:
        key = past.workload.name, past.generation
        if key not in self._hashes:
            self._hashes[key] = spec_hash(past.workload)
        return self._hashes[key]

    def _needs_of(self, name: str, generation: int) -> Needs:
        key = name, generation
        if key not in self._needs:
            pasts = (p for p in self._history.get(name, ()) if p.generation == generation)
            self._needs[key] = next((needs_of(p.workload) for p in pasts), NOTHING)
        return self._needs[key]

    def changing(
        self,
        declared: Declared,
        a: Assignment,
        status: InstanceStatus | None,
        needs: Needs,
        *,
        may: bool,
    ) -> Changing | None:
        """None: it has nothing but what it needs. `may`: nothing keeps it from changing."""
        name, outdated = a.workload, is_outdated(a, declared)
        told = status is not None and tells_of(status, a)
        if name not in self._history or (
            not outdated and (status is None or (told and is_well(status)))
        ):
            return None
        still = self.still(name, needs, status, a.generation)
        if still == NOTHING:
            return None
        # By its generation alone: the containers of before may be of fewer restarts.
        heard = status is not None and status.generation == a.generation
        stuck = heard and status is not None and status.phase not in _UNDER_WAY
        return Changing(
            a.node_id, a.key, name, needs, still, not outdated, not may if outdated else stuck
        )


def arrange(places: Places, changing: Iterable[Changing]) -> frozenset[tuple[str, str]]:
    """Set aside what these have still. The places of those that may change though others are in
    their way: they are in the way of these, too."""
    able = {one.place: one for one in changing}
    while stuck := [one for one in able.values() if one.stuck or _does_not_fit(places, one)]:
        for one in stuck:
            places.take(one.node_id, one.key, one.workload, one.needs + one.still)
            del able[one.place]
    for one in able.values():
        places.still(one.node_id, one.key, one.still)
    waiting = {
        one.place: {(one.node_id, key) for key in found}
        for one in able.values()
        if not one.decided
        if (found := places.waits_for(one.node_id, one.key, one.needs))
    }
    while others := [place for place, found in waiting.items() if not found <= waiting.keys()]:
        for place in others:  # it waits for one that waits for nobody
            del waiting[place]
    return frozenset(waiting)


def _does_not_fit(places: Places, one: Changing) -> bool:
    return not one.decided and bool(places.lacks(one.node_id, one.key, one.needs))
