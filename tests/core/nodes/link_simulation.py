"""A link in virtual time: the agent's `Pacer`, the master's `Link`, and a lossy network.

Only the pulses are simulated. The signs of life on the stream are left out, so that the true rate
of false alarms is not above the one found here, as far as pulses can cause them; heartbeats are
taken as arriving. Each datagram is lost independently of all others, in both directions.

`python -m tests.core.nodes.link_simulation [HOURS]` prints the tables of docs/liveness.md.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from statistics import median

from piccolo.core.nodes.liveness import PROFILES, Link, LinkProfile
from piccolo.core.nodes.pulse import Pacer, ms_ago
from piccolo.core.nodes.states import Fault

DATAGRAM_BYTES = 34 + 28  # a pulse, and the IPv4 and UDP headers before it
SEED = 20


@dataclass(frozen=True, slots=True)
class Network:
    """What happens to datagrams. All times are in seconds."""

    loss: float = 0.0
    round_trip: tuple[float, float] = (0.001, 0.05)  # drawn anew for each pulse
    cut_up: float = inf  # from then on nothing reaches the master
    cut_down: float = inf  # … or the agent
    outage: tuple[float, float] = (inf, inf)  # in between everything is lost
    frozen: float = inf  # from then on the agent sends nothing

    def passes(self, at: float, cut: float, rng: random.Random) -> bool:
        if at >= cut or self.outage[0] <= at < self.outage[1]:
            return False
        return rng.random() >= self.loss


@dataclass(slots=True)
class Outcome:
    losses: Counter[Fault] = field(default_factory=Counter)  # each time the link was judged lost
    suspected: int = 0  # how often it became suspect
    pulses: int = 0
    answers: int = 0
    lost_at: float | None = None  # the first time

    @property
    def bytes_sent(self) -> int:
        """Both ways."""
        return (self.pulses + self.answers) * DATAGRAM_BYTES


def due(link: Link, now: float) -> float:
    """When the link is judged lost, if nothing comes after `now`."""
    at: float | None = now
    while at is not None and link.fault(at) is None:
        at = link.next_deadline(at)
    return inf if at is None else at


def simulate(
    profile: LinkProfile,
    network: Network,
    rng: random.Random,
    seconds: float,
    *,
    until_lost: bool = False,
) -> Outcome:
    """A session of that length. An answer must not take longer than the first repetition."""
    assert network.round_trip[1] < profile.pulse_retry, "pulses would overtake their answers"
    outcome = Outcome()
    pacer, link = Pacer(profile, 0.0), Link(profile, 0.0)
    link.opened(1, 0.0)
    last = 0.0  # evidence
    while True:
        now = pacer.next_pulse()
        if now >= min(seconds, network.frozen):
            break
        heard = ms_ago(pacer.heard_at(), now)
        seq = pacer.send(now)
        outcome.pulses += 1
        round_trip = rng.uniform(*network.round_trip)
        at = now + round_trip / 2
        if network.passes(at, network.cut_up, rng):
            if link.fault(at) is not None and link.fault(last) is None:
                _record(outcome, link, due(link, last))
                if until_lost:
                    return outcome
            outcome.suspected += link.suspect(at) and not link.suspect(last)
            link.heard(1, at, heard_us_ago=heard / 1000, datagram=True, heartbeat=True)
            last = at
            outcome.answers += 1
            if network.passes(now + round_trip, network.cut_down, rng):
                pacer.answered(seq, now + round_trip)
        elif until_lost and now > due(link, last):
            break
    if due(link, last) < seconds and link.fault(last) is None:
        _record(outcome, link, due(link, last))
    return outcome


def _record(outcome: Outcome, link: Link, at: float) -> None:
    fault = link.fault(at)
    assert fault is not None
    outcome.losses[fault] += 1
    if outcome.lost_at is None:
        outcome.lost_at = at


TROUBLES = {
    "cut both ways": lambda at, loss: Network(loss, cut_up=at, cut_down=at),
    "cut agent → master": lambda at, loss: Network(loss, cut_up=at),
    "cut master → agent": lambda at, loss: Network(loss, cut_down=at),
    "agent frozen": lambda at, loss: Network(loss, frozen=at),
}


def detection(
    profile: LinkProfile, trouble: str, loss: float, runs: int, rng: random.Random
) -> list[float]:
    """How long it takes from the trouble to the verdict, in seconds, sorted."""

    def delays() -> Iterator[float]:
        for _ in range(runs):
            begin = 10 * profile.pulse_interval * (1 + rng.random())
            network = TROUBLES[trouble](begin, loss)
            outcome = simulate(profile, network, rng, begin + 1000, until_lost=True)
            yield (outcome.lost_at or inf) - begin

    return sorted(delays())


def main(hours: int) -> None:
    names = ("wired", "wireless")
    print("| Profile | Loss each way | Judged lost | Agent-hours | Suspect per hour | Traffic |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in names:
        for loss in (0.0, 0.2, 0.3, 0.4):
            rng = random.Random(SEED)
            outcome = simulate(PROFILES[name], Network(loss), rng, hours * 3600)
            print(
                f"| {name} | {loss * 100:.0f} % | {outcome.losses.total()} | {hours} |"
                f" {outcome.suspected / hours:.1f} |"
                f" {outcome.bytes_sent / hours / 3600:.0f} B/s |",
                flush=True,
            )
    print("\n| Profile | Trouble | Median | 99 % | Longest |")
    print("|---|---|--:|--:|--:|")
    for name in names:
        for trouble in TROUBLES:
            delays = detection(PROFILES[name], trouble, 0.2, 2000, random.Random(SEED))
            print(
                f"| {name} | {trouble} | {median(delays):.2f} s |"
                f" {delays[-len(delays) // 100]:.2f} s | {delays[-1]:.2f} s |"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
