"""The runs of an instance's containers: what it means that one runs, ended or is gone."""

from __future__ import annotations

from collections.abc import Iterable

from piccolo.core.model import Severity
from piccolo.core.pods.probing import Probing
from piccolo.core.pods.restarts import (
    INTERRUPTED,
    ISOLATED,
    LOOP,
    REMOVED,
    UNHEALTHY,
    End,
    end_of,
)
from piccolo.core.pods.sight import Seen, State, state_of
from piccolo.core.pods.state import Member, Turn, is_running
from piccolo.core.pods.steps import Inspection, Tail, Tell
from piccolo.core.workloads.containers import Probes


def meet(turn: Turn, containers: Iterable[Seen]) -> None:
    """They are seen for the first time, or belong to what is asked for the first time."""
    pod = turn.pod
    for seen in containers:
        member = pod.member(seen)
        if member is None:
            continue
        if pod.ending(seen):
            seen.doubt(turn.now)  # for the spec before: what it is started again for begins anew
        elif is_running(seen):
            began(turn, member, found=True)
        elif seen.state is State.ENDED or (seen.state is State.CREATED and pod.was_started(member)):
            seen.doubt(turn.now)  # only an inspection tells how it ended, or whether it ever ran


def began(turn: Turn, member: Member, *, found: bool) -> None:
    """`found`: it ran before we looked."""
    pod = turn.pod
    if pod.over(member):
        return
    if member.end is not None and not found:
        pod.restarts += 1
    probes = member.container.probes
    member.end = None
    member.since = turn.now
    member.run += 1
    member.probing = (
        Probing(probes, turn.now, turn.chance, found=found) if probes != Probes() else None
    )
    pod.begun = True
    pod.told.clear()
    if not pod.announced and all(is_running(pod.current(m)) or pod.over(m) for m in pod.mains):
        pod.announced = True
        if not found:
            turn.tell(Severity.INFO, "Started", f"generation {pod.instance.generation} runs")


def inspected(turn: Turn, seen: Seen, found: Inspection | None) -> None:
    """How it is now, for sure."""
    pod = turn.pod
    if found is None:
        _gone(turn, seen)
        return
    before, state = seen.state, state_of(found.state)
    seen.inspected(state, turn.now)
    seen.address = found.address
    member = pod.member(seen)
    if member is None or state is before:
        return
    if is_running(seen):
        if before not in (State.RUNNING, State.PAUSED):
            seen.cause = ""
            began(turn, member, found=before is State.UNKNOWN)
        if state is State.PAUSED:
            text = f"container {member.name} was paused by somebody, and is left so"
            turn.tell(Severity.WARNING, "Paused", text)
        return
    if state is State.ENDED and (seen.cause or found.finished or before is State.RUNNING):
        _ended(turn, member, seen, found)
    elif state in (State.CREATED, State.ENDED) and found.started:
        # The machine went down while it ran, and the runtime does not know how it ended.
        _interrupted(turn, member, "was running when the machine went down")


def _ended(turn: Turn, member: Member, seen: Seen, found: Inspection) -> None:
    pod, now = turn.pod, turn.now
    cause, seen.cause = seen.cause, ""
    complaint = member.probing.failed if member.probing is not None else ""
    member.probing = None
    if cause == ISOLATED:
        _interrupted(turn, member, "was stopped as its node was isolated")
        return
    if member.init and pod.inits_done:
        return
    end = end_of(found.exit_code, found.oom_killed, found.error)
    if cause == UNHEALTHY:
        end = End(found.exit_code, UNHEALTHY, f"was stopped: {complaint or 'not well'}")
    ran = now - member.since if member.since is not None else 0.0
    member.end, member.since = end, None
    pod.exit_code = end.exit_code
    pod.announced |= not member.init  # it was, by the agent before
    if pod.over(member):
        _tell_last(turn, member, seen, end)
        return
    pause = member.restarts.ended(ran, pod.workload.restart, turn.chance)
    member.start_at = now + pause
    _tell(turn, seen, Severity.WARNING, end, f"{_text(member, end)}; {_plans(member, pause)}")


def _plans(member: Member, pause: float) -> str:
    row = member.restarts.row
    when = f"in {pause:.1f} s" if pause else "now"
    loop = f" (crash loop: restart {row} in a row)" if row >= LOOP else ""
    return f"started again {when}{loop}"


def _tell_last(turn: Turn, member: Member, seen: Seen, end: End) -> None:
    if not end.well:
        _tell(turn, seen, Severity.ERROR, end, f"{_text(member, end)}; it stays so")
    elif not member.init:
        turn.tell(Severity.INFO, "Completed", _text(member, end))


def _tell(turn: Turn, seen: Seen, severity: Severity, end: End, text: str) -> None:
    severity = severity if not end.well else Severity.INFO
    turn.actions.append(Tail(seen.id, Tell(severity, end.reason or "Ended", text)))


def _text(member: Member, end: End) -> str:
    kind = "init container" if member.init else "container"
    return f"{kind} {member.name} {end.message}"


def _interrupted(turn: Turn, member: Member, text: str) -> None:
    """How it would have ended is unknown. That is no failure of its own: no pause, no count."""
    member.end, member.start_at, member.since, member.probing = None, 0.0, None, None
    if turn.pod.once(member):
        finish(turn, member, End(0, INTERRUPTED, f"{text}: it is not run twice"))


def finish(turn: Turn, member: Member, end: End) -> None:
    """It ended without anybody seeing how, and is not run again."""
    member.end, member.probing = end, None
    turn.tell(Severity.ERROR, end.reason, _text(member, end))


def _gone(turn: Turn, seen: Seen) -> None:
    """Somebody removed it, or we did without learning so."""
    pod = turn.pod
    member = pod.member(seen)
    pod.sight.forget(seen)
    for key in [key for key in pod.troubles if key.endswith(f" {seen.id}")]:
        del pod.troubles[key]
    if member is None:
        pod.dirty = True
        return
    ran = member.since is not None or pod.was_started(member)
    member.probing = member.since = None
    if pod.retiring or pod.held is not None or pod.over(member):
        return
    if member.init and (pod.inits_done or (member.end is not None and member.end.well)):
        return
    pod.pod_made = False  # perhaps not any more: making it again does no harm
    if pod.once(member) and ran:
        finish(turn, member, End(0, REMOVED, "was removed while it ran: it is not run twice"))
        return
    member.image_ready, member.end, member.start_at = False, None, 0.0
    text = f"container {member.name} was removed by somebody; it is made again"
    turn.tell(Severity.WARNING, "Recreated", text)
