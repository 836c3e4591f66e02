"""What to do next for an instance, from its state alone: called after every event.

In this order: look where it is not known how things are; take away what must not be there; then
bring each container that is its turn one step further. Everything is decided anew each time, so
nothing depends on which events came before, and an agent that was killed in between goes on where
it was.

A new version is prepared first: the containers of the version before run on until its images are
there and it may start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from piccolo.core.pods.restarts import INTERRUPTED, ISOLATED, UNHEALTHY, End
from piccolo.core.pods.runs import finish
from piccolo.core.pods.sight import Seen, State
from piccolo.core.pods.state import PULL_VISIBLE, Member, Turn, key
from piccolo.core.pods.steps import (
    Check,
    Clean,
    Create,
    CreatePod,
    EnsureImage,
    Inspect,
    Look,
    Remove,
    RemovePod,
    Save,
    Start,
    Stop,
)
from piccolo.core.workloads.workload import NetworkMode


def plan(turn: Turn) -> None:
    pod = turn.pod
    if not pod.retiring and pod.held is None and pod.listed:
        _images(turn)
    if not pod.looked:
        if not pod.working:
            turn.do(Look(containers=not pod.listed or pod.uncertain))
        return
    _inspections(turn)
    if pod.retiring:
        _retire(turn)
    elif pod.held is not None:
        _halt(turn)
    else:
        _run(turn)
    _forget_troubles(turn)


def _forget_troubles(turn: Turn) -> None:
    """With what nobody wants to do any more: such as stopping a container that is gone since."""
    pod = turn.pod
    if pod.troubles:
        wanted = turn.wanted.union(key(under_way.action) for under_way in pod.busy.values())
        pod.troubles = {k: trouble for k, trouble in pod.troubles.items() if k in wanted}


def _inspections(turn: Turn) -> None:
    for seen in turn.pod.sight:
        if seen.look_at > turn.now:
            turn.later(seen.look_at)
        elif turn.do(Inspect(seen.id)):
            seen.look_at = inf


def _images(turn: Turn) -> None:
    """Fetch what will be needed, even while it must not start yet."""
    pod = turn.pod
    if any(pod.over(m) and m.end and not m.end.well for m in pod.inits):
        return
    for member in (*(() if pod.inits_done else pod.inits), *pod.mains):
        ended = pod.over(member) or pod.was_started(member)
        if pod.current(member) is None and not ended and not member.image_ready:
            turn.do(EnsureImage(member.container.image, member.container.pull))
    for under_way in pod.busy.values():
        visible_at = under_way.since + PULL_VISIBLE
        if isinstance(under_way.action, EnsureImage) and visible_at > turn.now:
            turn.later(visible_at)


# ---- taking away ----


def _dismantle(turn: Turn, surplus: Sequence[Seen], pods: Sequence[str]) -> bool:
    """Stop what runs, all at once, then remove it. True: nothing is left."""
    for seen in surplus:
        if seen.state is State.RUNNING and not seen.unstoppable:
            seen.leaving |= turn.do(Stop(seen.id, turn.pod.workload.stop_grace))
        elif seen.state is not State.UNKNOWN:
            seen.leaving |= turn.do(Remove(seen.id))
    if not surplus:
        for name in pods:
            turn.do(RemovePod(name))
    return not surplus and not pods


def _retire(turn: Turn) -> None:
    pod = turn.pod
    if not _dismantle(turn, tuple(pod.sight), tuple(pod.pods)) or pod.working:
        return
    if not pod.verified:  # an agent that was killed may have left something to be made even later
        turn.do(Look(containers=True))
    elif not pod.cleaned:
        turn.do(Clean(last=True))
    else:
        pod.done = True


def _halt(turn: Turn) -> None:
    """Stop it, and keep it for later."""
    for seen in turn.pod.sight:
        if seen.state is State.PAUSED or (seen.state is State.RUNNING and seen.unstoppable):
            turn.do(Remove(seen.id))
        elif seen.state is State.RUNNING:
            turn.do(Stop(seen.id, turn.pod.workload.stop_grace, ISOLATED))


# ---- running ----


def _run(turn: Turn) -> None:
    pod = turn.pod
    surplus, pods = pod.surplus(), pod.surplus_pods()
    clear = not (surplus or pods or pod.dirty)
    members = pod.turn_of()
    prepared = pod.permitted and all(_prepared(turn, m) for m in members)
    if not clear and prepared and _dismantle(turn, surplus, pods):
        turn.do(Clean(last=False))
    for member in members:
        _advance(turn, member, clear, alone=not surplus)


def _prepared(turn: Turn, member: Member) -> bool:
    pod = turn.pod
    return member.image_ready or pod.over(member) or pod.current(member) is not None


def _advance(turn: Turn, member: Member, clear: bool, alone: bool) -> None:
    """`clear`: nothing is in the way of making it; `alone`: nor of starting it."""
    pod = turn.pod
    seen = pod.current(member)
    if pod.over(member):
        _keep_end(turn, member)
    elif seen is None:
        if pod.was_started(member):
            finish(turn, member, End(0, INTERRUPTED, "was started, and is gone: not run twice"))
            _keep_end(turn, member)
        elif clear:
            _make(turn, member)
    elif seen.state is State.RUNNING:
        _watch(turn, member, seen)
    elif seen.state is State.REMOVING:
        turn.do(Remove(seen.id))
    elif seen.state in (State.CREATED, State.ENDED) and alone:
        _start(turn, member, seen)  # what is surplus may run, or be about to: never two versions


def _make(turn: Turn, member: Member) -> None:
    pod = turn.pod
    if not pod.permitted or not member.image_ready:
        return
    if pod.pod_name and not pod.pod_made:
        turn.do(CreatePod(pod.instance))
    else:
        turn.do(Create(pod.instance, member.container))


def _start(turn: Turn, member: Member, seen: Seen) -> None:
    pod = turn.pod
    if not pod.permitted:
        return
    if turn.now < member.start_at:
        turn.later(member.start_at)
    elif not pod.once(member) or pod.was_started(member):
        turn.do(Start(seen.id, pod.instance, member.container))
    else:
        _keep_start(turn, member)


def _watch(turn: Turn, member: Member, seen: Seen) -> None:
    """It runs: ask its probes."""
    pod, probing = turn.pod, member.probing
    if pod.once(member) and not pod.was_started(member):
        _keep_start(turn, member)
    if member.name in pod.record.ended:  # so said another policy
        kept = {name: end for name, end in pod.record.ended.items() if name != member.name}
        turn.do(Save(replace(pod.record, ended=kept)))
    if probing is None:
        return
    if probing.failed:
        if seen.unstoppable:
            turn.do(Remove(seen.id))
        else:
            turn.do(Stop(seen.id, pod.workload.stop_grace, UNHEALTHY))
        return
    if pod.workload.network.mode is NetworkMode.HOST:
        seen.address = "127.0.0.1"
    if seen.address is None and probing.needs_address:
        turn.do(Inspect(seen.id))
        return
    for kind, probe in probing.due(turn.now):
        if turn.do(Check(seen.id, member.name, member.run, kind, probe, seen.address or "")):
            probing.asked(kind, turn.now)
    if probing.next_at > turn.now:
        turn.later(probing.next_at)


# ---- what must outlive a power cut ----


def _keep_start(turn: Turn, member: Member) -> None:
    record = turn.pod.record
    turn.do(Save(replace(record, started=(*record.started, member.name))))


def _keep_end(turn: Turn, member: Member) -> None:
    record = turn.pod.record
    if not member.init and member.end is not None and member.name not in record.ended:
        turn.do(Save(replace(record, ended={**record.ended, member.name: member.end})))
