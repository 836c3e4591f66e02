"""Keeps what the documents say of the code true: some of their sections are generated from it.

A document in docs/ marks such a section by its name, and what stands between is replaced::

    <!-- generated: link-profiles -->
    …
    <!-- end -->

`python -m tools.docs` writes, `python -m tools.docs --check` exits with 1 when something is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from math import ceil, floor
from pathlib import Path

from piccolo.core.model import NodeState
from piccolo.core.nodes.liveness import PROFILES, LinkProfile
from piccolo.core.nodes.pulse import Pacer
from piccolo.core.nodes.shortage import Thresholds
from piccolo.core.nodes.states import LINK_FAULTS, TRANSITIONS, Fault, Trigger, diagram
from tools import workload_docs

DOCS = Path(__file__).resolve().parent.parent / "docs"

_MARKED = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[a-z-]+) -->\n)"
    r"(?P<body>(?:(?!<!-- (?:generated: |end -->)).*\n)*)"
    r"(?P<end><!-- end -->)?"
)


class Wrong(Exception):
    """A document is marked in a way that makes no sense."""


# ---- node states ----

STATES: Mapping[NodeState, str] = {
    NodeState.PENDING: "Registered, but not let in yet: `node.yaml` does not list it and the"
    " discovery policy does not admit it. `piccolo approve NODE` lets it in.",
    NodeState.INITIALIZING: "A member that has not yet connected and told the master all it runs.",
    NodeState.READY: "Connected, its full report is known, no fault: fit for work.",
    NodeState.NOT_READY: "A fault holds, or the last one is over and the report is not complete"
    " again. The reason says which.",
    NodeState.MAINTENANCE: "An administrator took it out of service. Faults do not change that.",
    NodeState.TERMINATING: "On its way out of the cluster. Final: to come back it registers anew.",
}

TRIGGERS: Mapping[Trigger, str] = {
    Trigger.APPROVED: "listed in `node.yaml`, admitted by policy, or approved by an administrator",
    Trigger.SYNCED: "connected, and the master holds its full report",
    Trigger.FAULT: "the first fault begins",
    Trigger.RECOVERED: "the last fault is over, and the master holds its full report",
    Trigger.MAINTENANCE_ON: "an administrator takes it out of service",
    Trigger.MAINTENANCE_OFF: "an administrator puts it back; it has to prove itself again",
    Trigger.REMOVED: "an administrator takes it out of the cluster",
}

_LIMITS = Thresholds()

FAULTS: Mapping[Fault, tuple[str, str]] = {
    Fault.CONNECTION_CLOSED: (
        "The connection ended without a goodbye, and no new one came within the reconnect grace.",
        "Is the agent running (`systemctl status`)? Did the machine restart?",
    ),
    Fault.SILENT: (
        "Nothing at all came from the node.",
        "Cable, power, switch; the agent may be frozen.",
    ),
    Fault.DEAF: (
        "The node is heard, but it does not hear the master: a one-way link.",
        "Firewall, routing, duplicate address, a defective cable pair.",
    ),
    Fault.HEARTBEAT_TIMEOUT: (
        "Pulses come, heartbeats do not: the stream is stuck.",
        "A middlebox that swallows TCP; the agent's own work that does not end.",
    ),
    Fault.AGENT_STOPPED: ("The agent was stopped and said so.", "Start it again when wanted."),
    Fault.MEMORY_SHORTAGE: (
        f"Less than {_LIMITS.memory_available_percent:g} % of the memory has been available for"
        f" {_LIMITS.duration:g} s.",
        "Stop or limit what uses it. Over after as long on the right side.",
    ),
    Fault.DISK_SHORTAGE: (
        f"More than {_LIMITS.disk_used_percent:g} % of the disk has been in use for"
        f" {_LIMITS.duration:g} s.",
        "Remove unused images, rotate logs. Over after as long on the right side.",
    ),
}


def _states_diagram() -> str:
    return f"```mermaid\n{diagram()}\n```"


def _states() -> str:
    return _table(("State", "Meaning"), ((f"**{s}**", STATES[s]) for s in NodeState))


def _transitions() -> str:
    return _table(
        ("From", "Trigger", "To", "When"),
        ((s, t, target, TRIGGERS[t]) for (s, t), target in TRANSITIONS.items()),
    )


def _faults() -> str:
    return _table(
        ("Reason", "Kind", "Meaning", "Where to look"),
        ((f"`{f}`", "link" if f in LINK_FAULTS else "shortage", *FAULTS[f]) for f in Fault),
    )


# ---- liveness ----

FIGURES: Mapping[str, str] = {
    "pulse_interval": "between two pulses, while they are answered",
    "pulse_retry": "between two pulses, while one is unanswered",
    "suspect_after": "of silence: the node counts as late (twice that without datagrams)",
    "silent_after": "of silence: `Silent`",
    "stream_silent_after": "the same while no datagrams get through",
    "deaf_after": "without hearing the master: `Deaf`",
    "reconnect_grace": "to come back after the connection closed, else `ConnectionClosed`",
    "backoff_cap": "the agent's longest pause between two attempts to connect",
    "stream_stuck_after": "the agent gives up a stream that makes no progress",
    "heartbeat_interval": "between two heartbeats",
    "heartbeat_misses": "heartbeats in a row missed: `HeartbeatTimeout`",
}
LOSSES = (0.05, 0.1, 0.2, 0.3, 0.4)


def false_losses_per_hour(profile: LinkProfile, loss: float) -> float:
    """How often a living node is judged lost because pulses and answers are, each independently
    with the probability `loss`. The round trip is taken as short beside `pulse_retry`.

    Deaf: the agent hears the master, next after some failed round trips, and tells it with the
    first pulse from then on that arrives. That must take less than `deaf_after`. Its first pulse
    after an answer goes out after `pulse_interval`, or, when that answer ended a silence of
    `fallback_after`, at once (`Pacer`). Silent: all pulses for `silent_after` after an answered one
    are lost.
    """
    p, failure = profile, 1 - (1 - loss) ** 2  # of a round trip
    silence = Pacer(p, 0.0).fallback_after
    waits = (p.pulse_interval, p.pulse_retry)
    # How likely the next answer ends a silence, after each of the two waits; and in the long run.
    ends = [failure ** _repetitions(silence - wait, p) for wait in waits]
    prompt = ends[0] / (1 - ends[1] + ends[0])

    lost, pause = 0.0, p.pulse_retry * failure / (1 - failure)
    for wait, share in zip(waits, (1 - prompt, prompt), strict=True):
        pause += share * wait
        for failed in range(_repetitions(p.deaf_after, p)):
            heard = wait + failed * p.pulse_retry
            left = p.deaf_after - heard - waits[heard > silence - 1e-9]
            untold = loss ** _repetitions(left, p)
            lost += share * failure**failed * (1 - failure) * untold
        lost += share * failure ** _repetitions(p.deaf_after, p)
    lost += loss ** _repetitions(p.silent_after - p.pulse_interval, p)
    return lost * 3600 / pause


def _repetitions(seconds: float, p: LinkProfile) -> int:
    """How many of the pulses from 0 on, one each `pulse_retry`, come before `seconds`."""
    return max(0, ceil(seconds / p.pulse_retry - 1e-9))


def longest_harmless_outage(profile: LinkProfile) -> float:
    """For how many seconds all datagrams of an otherwise good link may be lost, with a round trip
    of at most 50 ms, without the node being judged lost. Rounded down to a tenth."""
    p = profile
    silent = p.silent_after - p.pulse_interval
    deaf = p.deaf_after - 2 * p.pulse_interval
    return floor((min(silent, deaf) - p.pulse_retry - 0.05) * 10 + 1e-9) / 10


def _link_profiles() -> str:
    profiles = PROFILES.values()
    rows = [
        (f"`{f.name}`", *(_figure(p, f.name) for p in profiles), FIGURES[f.name])
        for f in fields(LinkProfile)
        if f.name != "name"
    ]
    return _table(("Figure", *PROFILES, "Meaning"), rows)


def _figure(profile: LinkProfile, name: str) -> str:
    unit = "" if name == "heartbeat_misses" else " s"
    return f"{getattr(profile, name):g}{unit}"


def _link_calm() -> str:
    rows = [
        (name, *(_duration(1 / false_losses_per_hour(p, loss)) for loss in LOSSES))
        for name, p in PROFILES.items()
    ]
    return _table(("Profile", *(f"{loss * 100:.0f} % loss" for loss in LOSSES)), rows)


def _duration(hours: float) -> str:
    """In the largest fitting unit, with two significant digits."""
    unit, length = next(
        (u, n) for u, n in (("years", 8766), ("days", 24), ("h", 1)) if hours >= 2 * n or n == 1
    )
    count = hours / length
    return f"> 1000 {unit}" if count >= 1000 else f"{float(f'{count:.2g}'):g} {unit}"


def _link_outages() -> str:
    return _table(
        ("Profile", *PROFILES),
        [("Outage", *(f"{longest_harmless_outage(p):g} s" for p in PROFILES.values()))],
    )


# ---- documents ----

SECTIONS: Mapping[str, Callable[[], str]] = {
    "node-states-diagram": _states_diagram,
    "node-states": _states,
    "node-transitions": _transitions,
    "node-faults": _faults,
    "link-profiles": _link_profiles,
    "link-calm": _link_calm,
    "link-outages": _link_outages,
    **workload_docs.SECTIONS,
}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render(text: str) -> str:
    """The document with its marked sections as they should be. Raises `Wrong`."""

    def section(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in SECTIONS:
            raise Wrong(f'there is no section "{name}"; there are {", ".join(SECTIONS)}')
        if match["end"] is None:
            raise Wrong(f'the section "{name}" has no <!-- end -->')
        return f"{match['begin']}{SECTIONS[name]()}\n{match['end']}"

    return _MARKED.sub(section, text)


def main(arguments: Sequence[str] | None = None, folder: Path = DOCS) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    check = parser.parse_args(arguments).check
    bad = False
    for path in sorted(folder.rglob("*.md")):
        old = path.read_text(encoding="utf-8")
        try:
            new = render(old)
        except Wrong as error:
            print(f"{path.relative_to(folder.parent)}: {error}", file=sys.stderr)
            bad = True
            continue
        if new == old:
            continue
        if check:
            print(
                f"{path.relative_to(folder.parent)} is not what the code says:"
                " run python -m tools.docs",
                file=sys.stderr,
            )
            bad = True
        else:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path.relative_to(folder.parent)}")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
