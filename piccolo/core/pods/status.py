"""What is reported of an instance, from its state alone."""

from __future__ import annotations

from dataclasses import replace

from piccolo.core.pods.restarts import LOOP
from piccolo.core.pods.sight import State
from piccolo.core.pods.state import PULL_VISIBLE, Member, Pod, is_running
from piccolo.core.pods.steps import EnsureImage
from piccolo.core.workloads.instances import InstanceStatus, Phase

_Said = tuple[Phase, str, str]  # with reason and message

NEXT = "its node has it, and is about to begin"
_UNAVAILABLE = "RuntimeUnavailable"
_NOT_YET = (Phase.WAITING, Phase.PULLING, Phase.STARTING)  # nothing goes on without the runtime


def status_of(pod: Pod, now: float) -> InstanceStatus:
    """What to report now. While the runtime does not say how things are, it stays as it was; but
    what has not come to run says what it waits for."""
    instance = pod.instance
    if _uncertain(pod):
        status = replace(pod.status, generation=instance.generation)
        if status.phase is Phase.WAITING and not status.reason:
            status = replace(status, message=NEXT)
        if not pod.away or status.phase not in _NOT_YET:
            return status
        return replace(status, phase=Phase.WAITING, reason=_UNAVAILABLE, message=pod.away_why)
    phase, reason, message = _phase(pod, now)
    hashes = [seen.hash for seen in pod.sight]
    return InstanceStatus(
        workload=instance.workload.name,
        index=instance.index,
        generation=instance.generation,
        phase=phase,
        ready=phase is Phase.RUNNING and all(_ready(pod, m) for m in pod.mains),
        reason=reason,
        message=message,
        restarts=pod.restarts,
        exit_code=pod.exit_code,
        hash=instance.hash if instance.hash in hashes else next(iter(hashes), ""),
    )


def _uncertain(pod: Pod) -> bool:
    if pod.retiring:
        return False
    unknown = any(s.state is State.UNKNOWN for s in pod.sight if pod.member(s) is not None)
    return unknown or not pod.looked


def _phase(pod: Pod, now: float) -> _Said:
    if pod.retiring:
        return Phase.STOPPING, "", "it is removed"
    if pod.held is not None:
        stopping = any(is_running(seen) for seen in pod.sight)
        return Phase.STOPPING if stopping else Phase.WAITING, "Isolated", pod.held
    failed_init = next((m for m in pod.inits if pod.over(m) and m.end and not m.end.well), None)
    if failed_init is not None or all(map(pod.over, pod.mains)):
        return _over(pod.mains if failed_init is None else [failed_init])
    if not pod.permitted:
        return Phase.WAITING, "DependencyNotReady", pod.blocked
    for trouble in pod.troubles.values():
        if trouble.reason:
            return Phase.ERROR, trouble.reason, trouble.message
    for member in pod.turn_of():
        if member.end is not None and not pod.over(member):
            looping = member.restarts.row >= LOOP
            phase = Phase.CRASH_LOOP if looping else Phase.BACK_OFF
            said = f"container {member.name} {member.end.message}"
            return phase, member.end.reason or "Ended", said
    if image := _pulling(pod, now):
        return Phase.PULLING, "", image
    if pod.surplus():
        return Phase.STOPPING, "Replaced", "the containers of the version before are stopped"
    if all(pod.over(m) or _started(pod, m) for m in pod.mains):
        return Phase.RUNNING, *_complaint(pod)
    if pod.troubles:
        return Phase.WAITING, _UNAVAILABLE, next(iter(pod.troubles.values())).message
    return Phase.STARTING, "", ""


def _over(members: list[Member]) -> _Said:
    for member in members:
        if member.end is not None and not member.end.well:
            text = f"container {member.name} {member.end.message}"
            return Phase.FAILED, member.end.reason, text
    return Phase.COMPLETED, "Completed", ""


def _pulling(pod: Pod, now: float) -> str:
    """The image that is fetched, and for long enough to say so."""
    for started in pod.busy.values():
        if isinstance(started.action, EnsureImage) and now - started.since >= PULL_VISIBLE:
            return started.action.image
    return ""


def _started(pod: Pod, member: Member) -> bool:
    return is_running(pod.current(member)) and (member.probing is None or member.probing.started)


def _ready(pod: Pod, member: Member) -> bool:
    if pod.over(member):
        return True
    seen = pod.current(member)
    if seen is None or seen.state is not State.RUNNING:
        return False
    return member.probing is None or member.probing.ready


def _complaint(pod: Pod) -> tuple[str, str]:
    """What is not well though it runs."""
    for member in pod.mains:
        seen = pod.current(member)
        if seen is not None and seen.state is State.PAUSED:
            return "Paused", f"go on with: podman unpause {pod.container_name(member)}"
        if member.probing is not None and (text := member.probing.complaint):
            reason = "Unhealthy" if member.probing.failed else "NotReady"
            return reason, f"container {member.name}: {text}"
    return "", ""
