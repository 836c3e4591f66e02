"""Section: a thousand agents on one master, and what breaks beyond."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.crowd import WATCHERS, Measured, measure
from benchmarks.scale import BOUND, laws, paragraph
from tests.reliability.outcome import Effort, Row

SIZES, QUICK_SIZES = (10, 100, 1000), (10, 50)


def run(effort: Effort) -> Iterator[Row]:
    """Simulated agents in one process of their own: real certificates, sessions, pulses and
    reports, an address each, no machines behind them. All join one master with one token, 100 at a
    time, as one process is no faster; they share this machine with it. When all are Ready, the
    master is watched for a minute in which nothing happens. Then five real agents come, whose
    cables are cut at random moments, until a client that watches has printed NotReady; and ten
    clients, which came one after the other, follow all nodes, each over a connection of its own,
    until the last of them has read a change of a label.

    Growth is the exponent of the power law with the least squares of the logarithms over all sizes;
    of memory, what is above that of a master without agents. What is said of larger clusters is
    computed from these laws, and was not tried.
    """
    found = []
    for size in QUICK_SIZES if effort.quick else SIZES:
        seen = measure(
            size,
            runs=1,
            settle=effort.seconds(30, 1),
            idle=effort.seconds(60, 3),
            trials=effort.times(20, 5),
            returns=not effort.quick,
        )
        found.append(seen)
        yield from rows(seen)
    yield growth(found)
    yield Row("beyond, computed", "what breaks first, and when", paragraph(found))


def rows(seen: Measured) -> Iterator[Row]:
    what = f"{seen.size:,} agents"
    some = f"{seen.false_alarms} were not Ready at rest; " if seen.false_alarms else ""
    again = f", {_least_and_most(seen.returned)} to come back" if seen.returned else ""
    took = f"{_least_and_most(seen.joined)} to join{again}"
    yield Row(what, "all are Ready, and stay it", f"{some}{took}", seen.false_alarms > 0)
    wire = "" if seen.network is None else f"; {seen.network:.0f} B/s on the wire for each"
    cost = f"CPU {seen.cpu:.1f} % of a core, memory {seen.memory:.0f} MB{wire}"
    yield Row(f"{what}, idle: the master", "less than one core", cost, seen.cpu >= 100)
    worst = max(seen.detected)
    delay = f"median {median(seen.detected):.2f} s, worst {worst:.2f} s of {len(seen.detected)}"
    yield Row(f"{what}: one is cut off → NotReady", f"≤ {BOUND:g} s", delay, worst > BOUND)
    changed = [took * 1000 for took in seen.fanned_out]
    spread = f"median {median(changed):.0f} ms, worst {max(changed):.0f} ms"
    yield Row(f"{what}: a change → read by {WATCHERS} watching clients", "≤ 1 s", spread,
              max(changed) > 1000)  # fmt: skip
    listed = f"median {median(seen.listed):.2f} s"
    yield Row(f"{what}: `piccolo get nodes`", "an answer", listed)


def growth(found: Sequence[Measured]) -> Row:
    """Broken when a figure grows faster than the cluster, by more than a measurement errs."""
    grown = laws(found)
    sizes = " → ".join(f"{seen.size:,}" for seen in found)
    steep = any(law.what in ("memory", "CPU") and law.power.exponent > 1.25 for law in grown)
    return Row(f"growth, {sizes} agents", "memory and CPU not faster than n",
               "; ".join(law.says for law in grown), steep)  # fmt: skip


def _least_and_most(seconds: Sequence[float]) -> str:
    return f"{max(seconds):.1f} s"
