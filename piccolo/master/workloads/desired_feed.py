"""What one connected agent was told to run, and what it is to be told next.

At most one change of its instances is under way at a time: the next one is the difference to what
the agent then holds, however much happened meanwhile. So a slow agent needs no queue, and an agent
that could not take something over is asked again with its next heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from piccolo.core.workloads.instances import DependencyState
from piccolo.master.sessions import Session
from piccolo.master.workloads.instance_specs import Spec
from piccolo.rpc import convert, wire

CHUNK = 256_000  # bytes of a message, so that heartbeats and pulses come through in between
MOST_MESSAGES = 100  # of one change, however large it is: the session's queue is bounded
PATIENCE = 60.0  # s for an answer, from when it left
_QUEUED = 16  # messages that wait: dependencies wait too, and only the last word of them is told


@dataclass(frozen=True, slots=True)
class _UnderWay:
    held: dict[str, int]  # what the agent holds once it has taken it over
    digest: int
    since: float


class Feed:
    """Of one session. `wanted` maps the keys of a node's instances to their specs, or to None
    where the master can no longer tell: those stay as the agent has them."""

    def __init__(self, session: Session, held: Mapping[str, int]) -> None:
        self.session = session
        self.error = ""  # why the agent could not take over what it was told last
        self.possible = set(held)  # keys of what the agent may have
        self.owes = False  # there is more to tell, when what is under way has arrived
        self._held = dict(held)
        self._told: dict[str, DependencyState] = {}
        self._under_way: _UnderWay | None = None
        self._greeted = False  # told that it is in step, if it is, and it did not refuse
        self._paused = False  # until the next heartbeat
        self._reset = False  # what the agent holds is not known

    def tell(
        self,
        wanted: Mapping[str, Spec | None],
        dependencies: Mapping[str, DependencyState],
        now: float,
    ) -> None:
        """Send what the agent does not know yet."""
        if self._reset and None in wanted.values():
            self.session.end()  # its next Hello says what it holds
            return
        free = self._under_way is None and not self._paused
        reset = free and self._reset
        if reset:
            self._told.clear()
        news = [s for name, s in dependencies.items() if self._told.get(name) != s]
        changed, removed, held = self._difference(wanted, reset=reset)
        self.owes = False
        if free and (changed or removed or reset or not self._greeted):
            self._under_way = _UnderWay(held, digest_of(held), now)
            self.possible |= held.keys()
        elif not news and not changed and not removed:
            return
        elif not news or self.session.backlog >= _QUEUED:
            self.owes = True
            return
        else:
            self.owes = bool(changed or removed)
            changed, removed = [], []
        self._told = dict(dependencies)
        self._greeted, self._reset = True, self._reset and not reset
        last = self._under_way.digest if self._under_way else digest_of(self._held)
        for message in messages(reset, changed, removed, news, last):
            self.session.send(wire.MasterMessage(desired=message))

    def _difference(
        self, wanted: Mapping[str, Spec | None], *, reset: bool
    ) -> tuple[list[Spec], list[str], dict[str, int]]:
        """What to set and what to remove, and what the agent holds after it."""
        before = {} if reset else self._held
        changed = [s for k, s in wanted.items() if s is not None and before.get(k) != s.digest]
        removed = [key for key in before if key not in wanted]
        after = {key: digest for key, digest in before.items() if key in wanted}
        return changed, removed, after | {spec.key: spec.digest for spec in changed}

    def answered(self, digest: int, error: str) -> None:
        """It is on the agent's disk, or `error` says why it is not, and nothing changed there."""
        if self._under_way is None:
            return  # news of dependencies only: a heartbeat shows whether instances differ
        if error:
            self._under_way, self._paused, self.owes = None, True, False
            self._greeted = False  # it may have lost a piece, and remove nothing until it is told
            self.error = error
            self._settle(digest)
        elif digest == self._under_way.digest:
            self._held, self._under_way = self._under_way.held, None
            self.possible = set(self._held)
            self.error = ""

    def beat(self, digest: int, now: float) -> bool:
        """A heartbeat says what the agent holds. Whether it has to be told anything now."""
        again = self._paused or self.owes
        if self._under_way is not None:
            if digest == self._under_way.digest:
                self.answered(digest, "")
            elif self.session.backlog or now - self._under_way.since < PATIENCE:
                return False
            else:
                self._under_way, again = None, True
        self._paused = False
        self._reset = digest != digest_of(self._held)
        self._settle(digest)
        return again or self._reset

    def _settle(self, digest: int) -> None:
        """The agent says by this digest what it has; if nothing is on its way, this is all."""
        if self._under_way is None and digest == digest_of(self._held):
            self.possible = set(self._held)


def digest_of(held: Mapping[str, int]) -> int:
    digest = 0
    for one in held.values():
        digest ^= one
    return digest


def messages(
    reset: bool,
    changed: Sequence[Spec],
    removed: Sequence[str],
    dependencies: Iterable[DependencyState],
    digest: int,
) -> Iterator[wire.Desired]:
    """One change, in as many messages as its size asks for."""
    sizes = [_size(spec) for spec in changed]
    limit = max(CHUNK, sum(sizes) // MOST_MESSAGES)
    message = wire.Desired(reset=reset, removed=list(removed))
    message.dependencies = [convert.dependency_to_wire(state) for state in dependencies]
    room = limit
    for spec, size in zip(changed, sizes, strict=True):
        if message.set and size > room:
            yield message
            message, room = wire.Desired(reset=reset), limit
        message.set.append(
            wire.DesiredInstance(key=spec.key, spec=spec.data, secrets=dict(spec.secrets))
        )
        room -= size
    message.last, message.digest = True, digest
    yield message


def _size(spec: Spec) -> int:
    secrets = sum(len(key) + len(value) for key, value in spec.secrets.items())
    return len(spec.key) + len(spec.data) + secrets
