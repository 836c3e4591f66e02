"""What is known of the containers of one instance, while news of them comes late.

The runtime's listings arrive a moment after they were true, and results of our own actions
overtake them. So the `state` of a container is what our last action or inspection says, and a
listing that contradicts it is only a reason to inspect: at once when it is new, and again after
growing pauses for as long as both disagree. Nothing is missed for good, and no old listing is
taken for an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from piccolo.core.model import Container
from piccolo.core.workloads.instances import LABEL_CONTAINER, LABEL_HASH

_PATIENCE = 3.0  # s, until a listing that does not follow our action is doubted
_LONGEST = 60.0  # s


class State(StrEnum):
    UNKNOWN = "unknown"  # an inspection will tell
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"
    REMOVING = "removing"  # somebody's removal got stuck
    GONE = "gone"


_STATES = {
    "created": State.CREATED,
    "configured": State.CREATED,
    "initialized": State.CREATED,
    "paused": State.PAUSED,
    "exited": State.ENDED,
    "stopped": State.ENDED,
    "dead": State.ENDED,
    "removing": State.REMOVING,
}


def state_of(word: str) -> State:
    """The runtime's word. What is unheard-of counts as running: it is left alone."""
    return _STATES.get(word.lower(), State.RUNNING)


@dataclass(slots=True)
class Seen:
    """A container that there is."""

    id: str
    name: str  # within the workload
    hash: str
    state: State
    listed: State | None = None  # as the runtime listed it last
    look_at: float = inf  # when to inspect it
    looks: int = 0  # so often in vain
    address: str | None = None  # None: not known
    cause: str = ""  # why we stopped it
    unstoppable: bool = False  # only removing it helps
    leaving: bool = False  # it is taken away: whoever is asked for next begins with another one

    def doubt(self, now: float) -> None:
        self.state, self.look_at = State.UNKNOWN, now

    def believe(self, state: State, now: float) -> None:
        """Our own action made it so."""
        self.state = state
        self.looks = 0
        if self.listed is state:
            self.look_at = inf
        elif self.look_at > now:
            self.look_at = now + _PATIENCE

    def inspected(self, state: State, now: float) -> None:
        self.state = state
        if self.listed is state:
            self.look_at, self.looks = inf, 0
        elif self.look_at == inf:  # else a newer listing came meanwhile
            self.looks += 1
            self.look_at = now + min(_LONGEST, _PATIENCE * 2.0 ** min(self.looks, 8))


class Sight:
    """All containers of the instance, whatever their hash."""

    __slots__ = ("_removed", "_seen")

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._removed: set[str] = set()  # by us; old listings may still have them

    def __iter__(self) -> Iterator[Seen]:
        return iter(tuple(self._seen.values()))

    def __len__(self) -> int:
        return len(self._seen)

    def get(self, id: str) -> Seen | None:
        return self._seen.get(id)

    def find(self, name: str, hash: str) -> Seen | None:
        """Of several that claim to be it, the one known longest."""
        for seen in self._seen.values():
            if seen.name == name and seen.hash == hash and not seen.leaving:
                return seen
        return None

    def made(self, id: str, name: str, hash: str, now: float) -> None:
        """We created it; a listing may have told so before."""
        if id not in self._seen:
            self._seen[id] = Seen(id, name, hash, State.CREATED, look_at=now + _PATIENCE)

    def removed(self, seen: Seen) -> None:
        """We removed it."""
        self._removed.add(seen.id)
        self.forget(seen)

    def forget(self, seen: Seen) -> None:
        self._seen.pop(seen.id, None)

    def observe(self, containers: Sequence[Container], now: float) -> list[Seen]:
        """Take a listing in; returns those seen for the first time.

        Their state is believed, but how one ended is only told by an inspection. A pod's own
        container, which holds its network, has no name within the workload, and does not count.
        """
        listed = {c.id: c for c in containers if LABEL_CONTAINER in c.labels}
        self._removed &= listed.keys()
        for seen in self._seen.values():
            if seen.id not in listed:
                self._list(seen, State.GONE, now)
        fresh = []
        for id, container in listed.items():
            state = state_of(container.state)
            known = self._seen.get(id)
            if known is not None:
                self._list(known, state, now)
            elif id not in self._removed:
                labels = container.labels
                hash = labels.get(LABEL_HASH, "")
                seen = Seen(id, labels[LABEL_CONTAINER], hash, state, listed=state)
                if state is State.ENDED:
                    seen.doubt(now)
                self._seen[id] = seen
                fresh.append(seen)
        return fresh

    @staticmethod
    def _list(seen: Seen, state: State, now: float) -> None:
        if state is seen.state:
            seen.listed, seen.look_at, seen.looks = state, inf, 0
        elif seen.listed is not None or state is not State.GONE:
            seen.listed = state
            seen.look_at = now
        # Else it is new, and the listing older than it.
