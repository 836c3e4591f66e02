"""The state of one instance on its node: what is asked, what is seen, what is under way.

`Pod` only holds and answers questions; `core.pods.machine` takes events in, `core.pods.plan` says
what to do next, and `core.pods.status` what to report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from piccolo.core.backoff import pause
from piccolo.core.model import Severity
from piccolo.core.pods.probing import Probing
from piccolo.core.pods.restarts import End, Record, Restarts, stays
from piccolo.core.pods.sight import Seen, Sight, State
from piccolo.core.pods.steps import Action, Answered, Check, EnsureImage, Remove, Stop, Tell
from piccolo.core.workloads.containers import Container
from piccolo.core.workloads.instances import Instance, InstanceStatus
from piccolo.core.workloads.workload import RestartPolicy, Workload

PULL_VISIBLE = 0.5  # s; an image that is there is found faster, and is not worth a status
TRIED_AGAIN = "tried again within a minute"  # what is said of it, as no pause is longer than `_CAP`
_CAP = 60.0  # s


@dataclass(slots=True)
class Trouble:
    """Why an action was refused, and when it is tried again; no reason: nothing answered."""

    attempt: int = 0
    reason: str = ""
    message: str = ""
    retry_at: float = 0.0

    def again(self, reason: str, message: str, now: float, chance: float) -> None:
        self.attempt += 1
        self.reason, self.message = reason, message
        self.retry_at = now + pause(self.attempt, chance, base=1.0, cap=_CAP)


@dataclass(slots=True)
class Member:
    """A container that is asked for."""

    container: Container
    init: bool
    image_ready: bool = False  # since it was last made
    end: End | None = None  # how it ended, until it runs again
    start_at: float = 0.0  # not before
    restarts: Restarts = field(default_factory=Restarts)
    run: int = 0
    since: float | None = None  # when the run began, or was first seen
    probing: Probing | None = None

    @property
    def name(self) -> str:
        return self.container.name


@dataclass(frozen=True, slots=True)
class UnderWay:
    action: Answered
    since: float
    hash: str  # of the spec that it was done for


class Pod:
    """Everything about one instance."""

    def __init__(self, instance: Instance, record: Record) -> None:
        self.sight = Sight()
        self.pods: dict[str, str] = {}  # hash by name
        self.listed = False  # the containers were listed, ever
        self.looked = False  # the pods were listed, and nothing is `uncertain`
        self.uncertain = False  # something may have been made that only a listing can tell
        self.blocked = ""
        self.held: str | None = None
        self.retiring = False
        self.verified = False  # a listing since then was taken in
        self.cleaned = False
        self.done = False
        self.dirty = False  # something of another hash was removed
        self.busy: dict[str, UnderWay] = {}  # by slot
        self.away = 0  # so often in a row the runtime did not answer
        self.away_why = ""  # the last time
        self.away_until = -inf
        self.status = InstanceStatus(instance.workload.name, instance.index, instance.generation)
        self.begin(instance, record)

    def begin(self, instance: Instance, record: Record) -> None:
        """Drive another spec from now on."""
        self.instance = instance
        fits = record.hash == instance.hash
        self.record = record if fits else Record(instance.hash)
        workload = instance.workload
        self.inits = [Member(c, init=True) for c in workload.init_containers]
        self.mains = [Member(c, init=False) for c in workload.containers]
        for member in self.mains:
            member.end = self.record.ended.get(member.name)
        self.inits_done = not self.inits
        self.pod_made = self.pods.get(self.pod_name) == instance.hash
        self.begun = False  # a container of it was started, so `blocked` does not matter any more
        self.announced = False
        self.restarts = 0
        self.exit_code = 0
        self.troubles: dict[str, Trouble] = {}  # by key
        self.told: set[str] = set()  # reasons

    # ---- questions ----

    @property
    def workload(self) -> Workload:
        return self.instance.workload

    @property
    def policy(self) -> RestartPolicy:
        return self.workload.restart.policy

    @property
    def pod_name(self) -> str:
        """Of Podman's pod; empty: a single container needs none."""
        several = len(self.mains) > 1 or self.inits
        return self.instance.key if several else ""

    def container_name(self, member: Member) -> str:
        return f"{self.instance.key}.{member.name}"

    @property
    def permitted(self) -> bool:
        return self.begun or not self.blocked

    @property
    def working(self) -> bool:
        """Whether an action is under way that changes what there is."""
        return any(not isinstance(u.action, EnsureImage | Check) for u in self.busy.values())

    def ending(self, seen: Seen) -> bool:
        """Whether it is being stopped or removed."""
        under_way = self.busy.get(seen.id)
        return under_way is not None and isinstance(under_way.action, Stop | Remove)

    def current(self, member: Member) -> Seen | None:
        """Its container."""
        return self.sight.find(member.container.name, self.instance.hash)

    def member(self, seen: Seen) -> Member | None:
        """Whose container it is; None: surplus."""
        for member in (*self.mains, *self.inits):
            if member.name == seen.name:
                return member if self.current(member) is seen else None
        return None

    def surplus(self) -> list[Seen]:
        return [seen for seen in self.sight if self.member(seen) is None]

    def surplus_pods(self) -> list[str]:
        wanted = (self.pod_name, self.instance.hash)
        return [name for name, hash in self.pods.items() if (name, hash) != wanted]

    def over(self, member: Member) -> bool:
        """Whether it ended and stays so."""
        if member.end is None:
            return False
        forever = member.init and self.policy is RestartPolicy.ALWAYS
        return stays(member.end, RestartPolicy.ON_FAILURE if forever else self.policy)

    def once(self, member: Member) -> bool:
        """Whether it must not be started a second time."""
        return self.policy is RestartPolicy.NEVER and not member.init

    def was_started(self, member: Member) -> bool:
        """… and may have been already, according to the record."""
        return self.once(member) and member.name in self.record.started

    def turn_of(self) -> list[Member]:
        """The members that are to run now: one init container after the other, then all others."""
        if not self.inits_done:
            begun = any(self.current(member) is not None for member in self.mains)
            todo = [m for m in self.inits if m.end is None or not m.end.well]
            if todo and not begun:
                return todo[:1]
            self.inits_done = True
        return self.mains


def key(action: Answered) -> str:
    """What trouble with it is filed under."""
    return f"{type(action).__name__} {action.slot}"


@dataclass(slots=True)
class Turn:
    """One step: what is done in it, and when the next one is due."""

    pod: Pod
    now: float
    chance: float  # 0..1
    actions: list[Action] = field(default_factory=list)
    wake_at: float = inf
    wanted: set[str] = field(default_factory=set)  # keys of what is to be done, now or later

    def later(self, at: float) -> None:
        self.wake_at = min(self.wake_at, at)

    def do(self, action: Answered) -> bool:
        """Do it, unless something else is under way there, or it has to wait. True: done."""
        pod = self.pod
        if pod.troubles:
            self.wanted.add(key(action))
        if action.slot in pod.busy:
            return False
        trouble = pod.troubles.get(key(action))
        not_before = max(pod.away_until, trouble.retry_at if trouble is not None else -inf)
        if self.now < not_before:
            self.later(not_before)
            return False
        pod.busy[action.slot] = UnderWay(action, self.now, pod.instance.hash)
        self.actions.append(action)
        return True

    def tell(self, severity: Severity, reason: str, message: str) -> None:
        self.actions.append(Tell(severity, reason, message))


def is_running(seen: Seen | None) -> bool:
    return seen is not None and seen.state in (State.RUNNING, State.PAUSED)
