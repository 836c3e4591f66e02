"""How soon the loss of a node is seen, and its return."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from benchmarks.faults import BOUND, CALM, TARGET, faults, outage
from benchmarks.figures import Plan
from benchmarks.ground import PATIENCE, join, make_lab
from piccolo.core.nodes.liveness import PROFILES
from tests.reliability.outcome import Effort, Row, percentile

LINKS = ("wireless", "cellular")


def run(effort: Effort) -> Iterator[Row]:
    """Five nodes, each with a trouble of its own, which begins at a random moment. The time counts
    until a client that watches has printed NotReady; then the trouble is ended, and the time counts
    until it has printed Ready. Cables are cut by dropping all packets on the way: nobody is told. A
    one-way cut drops one direction only. Then the same with cables that are cut for 20 s, so that
    agents give up their sessions and pause between attempts; and with nodes whose link is wireless
    or cellular: cellular is slower to judge, on purpose, and is given 10 s between two cuts.
    """
    random.seed(effort.seed)
    plan = Plan(runs=effort.times(10, 1), quick=effort.quick)
    for measure in (faults,) if effort.quick else (faults, outage):
        for figure in measure(plan):
            yield _row(figure.what, figure.target, figure.values, figure.limit or 0.0)
    yield from _links(effort)


def _links(effort: Effort) -> Iterator[Row]:
    """Silent cuts of nodes with other links, all at once."""
    links = LINKS[: effort.times(len(LINKS), 1)]
    took: dict[str, list[float]] = {link: [] for link in links}
    with make_lab(len(links)) as lab:
        lab.start_master()
        names = dict(zip(links, lab.nodes, strict=True))
        # Until a datagram has come through again a link is judged by its stream, more slowly.
        settled = max(CALM, *(2 * PROFILES[link].pulse_interval for link in links))
        for link, name in names.items():
            join(lab, [name], "--link", link)
        with lab.watch_nodes() as watch:
            for _ in range(effort.times(5, 2)):
                time.sleep(settled + random.random())
                cut = time.monotonic()
                for name in names.values():
                    lab.net.cut(name)
                for link, name in names.items():
                    seen = watch.wait_status(name, "NotReady", PATIENCE, cut)
                    took[link].append(seen.at - cut)
                healed = time.monotonic()
                for name in names.values():
                    lab.net.heal(name)
                for name in names.values():
                    watch.wait_status(name, "Ready", PATIENCE, healed)
    for link, seconds in took.items():
        # What is asked of `wired` and `wireless`; of the other one, what its profile says.
        bound = BOUND if link != "cellular" else PROFILES[link].silent_after + 1.0
        target = TARGET if link != "cellular" else f"worst ≤ {bound:g} s"
        yield _row(f"cable of a {link} node cut, both ways → NotReady", target, seconds, bound)


def _row(what: str, target: str, seconds: Sequence[float], bound: float) -> Row:
    if not seconds:
        return Row(what, target, "not measured: needs root", True)
    p50, p99, worst = (percentile(seconds, percent) for percent in (50, 99, 100))
    seen = f"p50 {p50:.2f} s, p99 {p99:.2f} s, worst {worst:.2f} s ({len(seconds)} trials)"
    return Row(what, target, seen, worst > bound)
