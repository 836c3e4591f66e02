"""Drives one instance on its node: events in, actions out (`core.pods.steps`).

Knows neither clock nor network nor chance; `now` is monotonic. An agent may be killed after any
action: a new machine that sees the same containers goes on from there, makes nothing twice and
leaves nothing behind, since containers are found by their labels and every action may be repeated.

This file takes in what happened; `core.pods.plan` then decides what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from piccolo.core.backoff import pause
from piccolo.core.model import Severity
from piccolo.core.pods.plan import plan
from piccolo.core.pods.probing import Probing
from piccolo.core.pods.restarts import ISOLATED, Record
from piccolo.core.pods.runs import began, inspected, meet
from piccolo.core.pods.sight import Seen, State
from piccolo.core.pods.state import TRIED_AGAIN, Pod, Trouble, Turn, is_running, key
from piccolo.core.pods.status import status_of
from piccolo.core.pods.steps import (
    Action,
    Answer,
    Answered,
    Away,
    Blocked,
    Checked,
    Clean,
    Create,
    CreatePod,
    Done,
    EnsureImage,
    Event,
    Held,
    Inspect,
    Inspected,
    Look,
    Looked,
    Observed,
    Refused,
    Remove,
    RemovePod,
    Retired,
    Save,
    Start,
    Stop,
    Updated,
)
from piccolo.core.workloads.instances import Instance, InstanceStatus


class PodMachine:
    """`record`: what was kept on disk of the same instance, perhaps of another hash."""

    __slots__ = ("_pod", "wake_at")

    def __init__(self, instance: Instance, record: Record) -> None:
        self._pod = Pod(instance, record)
        self.wake_at = inf  # when to come back with a `Tick`, if nothing happens before

    @property
    def status(self) -> InstanceStatus:
        """Without `since`: the wall clock is the caller's."""
        return self._pod.status

    @property
    def done(self) -> bool:
        """Nothing is left of it, as was asked."""
        return self._pod.done

    def step(self, events: Iterable[Event], now: float, chance: float) -> list[Action]:
        """What to do after `events`. `chance` is a random number in 0..1."""
        turn = Turn(self._pod, now, chance)
        for event in events:
            _take(turn, event)
        plan(turn)
        self._pod.status = status_of(self._pod, now)
        self.wake_at = turn.wake_at
        return turn.actions


def _take(turn: Turn, event: Event) -> None:
    pod = turn.pod
    match event:
        case Observed(containers):
            pod.away_until = turn.now  # it is there
            pod.troubles = {k: trouble for k, trouble in pod.troubles.items() if trouble.reason}
            pod.listed = True
            meet(turn, pod.sight.observe(containers, turn.now))
        case Updated(instance):
            _update(turn, instance)
        case Blocked(why):
            pod.blocked = why
        case Held(why):
            if why is not None and pod.held is None:
                turn.tell(Severity.WARNING, ISOLATED, f"it is stopped: {why}")
            pod.held = why
        case Retired():
            pod.retiring = True
        case Done() | Refused() | Away() | Looked() | Inspected() | Checked():
            under_way = pod.busy.pop(event.action.slot)
            _answered(turn, event, current=under_way.hash == pod.instance.hash)


def _answered(turn: Turn, answer: Answer, *, current: bool) -> None:
    """`current`: it was done for the spec that there is now."""
    pod, now = turn.pod, turn.now
    if isinstance(answer, Away):
        _away(turn, answer.action, answer.message)
        return
    if isinstance(answer, Refused):
        if current:
            _file(turn, answer)
        _refused(turn, answer.action)
        return
    pod.away = 0
    pod.troubles.pop(key(answer.action), None)
    match answer:
        case Done(action, id):
            _done(turn, action, id)
        case Looked(action, containers, pods):
            pod.pods = dict(pods)
            pod.pod_made = pods.get(pod.pod_name) == pod.instance.hash
            pod.looked, pod.uncertain = True, False
            pod.verified = pod.retiring and action.containers
            if action.containers:
                pod.listed = True
                meet(turn, pod.sight.observe(containers, now))
        case Inspected(action, found):
            seen = pod.sight.get(action.id)
            if seen is not None:
                inspected(turn, seen, found)
        case Checked():
            _checked(turn, answer)


# ---- what was done ----


def _done(turn: Turn, action: Answered, id: str) -> None:
    pod = turn.pod
    match action:
        case EnsureImage(image, pull):
            for member in (*pod.inits, *pod.mains):
                if (member.container.image, member.container.pull) == (image, pull):
                    member.image_ready = True
        case CreatePod(instance):
            pod.pods[instance.key] = instance.hash
            pod.pod_made = instance.hash == pod.instance.hash
        case RemovePod(name):
            pod.pods.pop(name, None)
            pod.dirty = True
        case Clean(last):
            pod.dirty, pod.cleaned = False, last
        case Create(instance, container):
            pod.sight.made(id, container.name, instance.hash, turn.now)
            for member in (*pod.inits, *pod.mains):
                if member.name == container.name:
                    member.image_ready = False
        case Save(record):
            if record.hash == pod.instance.hash:
                pod.record = record
        case Start() | Stop() | Remove():
            seen = pod.sight.get(action.id)
            if seen is not None:
                _changed(turn, action, seen)


def _changed(turn: Turn, action: Start | Stop | Remove, seen: Seen) -> None:
    pod, member = turn.pod, turn.pod.member(seen)
    match action:
        case Start():
            seen.believe(State.RUNNING, turn.now)
            seen.address, seen.cause = None, ""
            if member is not None:
                began(turn, member, found=False)
        case Stop(why=""):
            seen.believe(State.ENDED, turn.now)
        case Stop(why=why):
            seen.cause = why
            seen.doubt(turn.now)
        case Remove():
            pod.sight.removed(seen)
            if member is None:
                pod.dirty = True
            else:
                member.probing = None


def _file(turn: Turn, answer: Refused) -> None:
    pod = turn.pod
    trouble = pod.troubles.setdefault(key(answer.action), Trouble())
    message = f"{answer.message}; {TRIED_AGAIN}"
    trouble.again(answer.reason, message, turn.now, turn.chance)
    if answer.reason not in pod.told:
        pod.told.add(answer.reason)
        turn.tell(Severity.ERROR, answer.reason, message)


def _refused(turn: Turn, action: Answered) -> None:
    pod = turn.pod
    match action:
        case Create() | CreatePod():
            pod.looked, pod.uncertain = False, True
            pod.pod_made = False
            for member in (*pod.inits, *pod.mains):
                member.image_ready = False
        case Start(id=id) | Inspect(id):
            if (seen := pod.sight.get(id)) is not None:
                seen.look_at = turn.now
        case Stop(id=id):
            if (seen := pod.sight.get(id)) is not None:
                seen.unstoppable = True
                if seen.leaving:  # it runs on, perhaps for what is asked for now
                    seen.leaving = False
                    seen.doubt(turn.now)


def _away(turn: Turn, action: Answered, why: str) -> None:
    """It may have been done or not: look before anything else."""
    pod = turn.pod
    if isinstance(action, EnsureImage):  # perhaps only the registry is away
        trouble = pod.troubles.setdefault(key(action), Trouble())
        trouble.again("", why, turn.now, turn.chance)
        return
    pod.away += 1
    pod.away_why = why
    pod.away_until = turn.now + pause(pod.away, turn.chance, base=0.5, cap=15.0)
    match action:
        case Create() | CreatePod() | RemovePod() | Look():
            pod.looked, pod.uncertain = False, True
        case Inspect(id):
            if (seen := pod.sight.get(id)) is not None:
                seen.look_at = turn.now
        case Start(id=id) | Stop(id=id) | Remove(id=id):
            if (seen := pod.sight.get(id)) is not None:
                if isinstance(action, Stop):
                    seen.cause = action.why
                seen.doubt(turn.now)


def _checked(turn: Turn, answer: Checked) -> None:
    action = answer.action
    seen = turn.pod.sight.get(action.id)
    member = turn.pod.member(seen) if seen is not None else None
    if member is None or member.probing is None or member.run != action.run:
        return  # it is no news of what runs now
    member.probing.answered(action.kind, answer.well, answer.message, turn.now)


def _update(turn: Turn, instance: Instance) -> None:
    """Another hash: a new life. The same: what does not need other containers is taken over."""
    pod, before = turn.pod, turn.pod.instance
    if instance.hash != before.hash:
        pod.begin(instance, pod.record)
        meet(turn, pod.sight)
        return
    pod.instance = instance
    workload = instance.workload
    wanted = {c.name: c for c in (*workload.init_containers, *workload.containers)}
    for member in (*pod.inits, *pod.mains):
        probes, member.container = member.container.probes, wanted[member.name]
        seen = pod.current(member)
        if seen is not None and is_running(seen) and member.container.probes != probes:
            probing = Probing(member.container.probes, turn.now, turn.chance, found=True)
            member.probing = probing
            member.run += 1
