"""A bad network is not a dead node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.figures import QUICK, Plan
from benchmarks.lossy import lossy
from tests.reliability.outcome import Effort, Row


def run(effort: Effort) -> Iterator[Row]:
    """Ten nodes for ten minutes; of five, 20 % of the packets are lost in each direction, of the
    other five 30 %, each packet by its own lot. Counted is how often a client that watches printed
    NotReady. Which packets are lost is the kernel's choice, not the seed's.
    """
    plan = replace(QUICK, steady=20.0) if effort.quick else Plan(steady=600.0)
    for figure in lossy(plan):
        [count] = figure.values
        promised = figure.limit is not None
        expected = "none" if promised else "none is the aim, not promised"
        yield Row(figure.what, expected, f"{count:.0f}", figure.misses)
