"""Calm: a bad network is not a dead node."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Plan
from benchmarks.ground import join, make_lab

NODES = 5  # per degree of loss


def lossy(plan: Plan) -> Iterator[Figure]:
    """Ten nodes for ten minutes; of five, 20 % of the packets are lost in each direction, of the
    other five 30 %, each packet by its own lot. Counted is how often a client that watches, beside
    the master, printed NotReady.
    """
    with make_lab(2 * NODES) as lab:
        lab.start_master()
        join(lab)
        degrees = {name: 20.0 if n < NODES else 30.0 for n, name in enumerate(lab.nodes)}
        with lab.watch_nodes() as watch:
            begun = time.monotonic()
            for name, percent in degrees.items():
                lab.net.loss(name, percent)
            time.sleep(plan.steady)
            lost = [c.name for c in watch.since(begun) if c.status == "NotReady"]
    minutes = f"{plan.steady / 60:.0f} min" if plan.steady >= 60 else f"{plan.steady:.0f} s"
    for percent, target, limit in ((20.0, "0", 0.0), (30.0, "", None)):
        count = sum(degrees[name] == percent for name in lost)
        what = f"false NotReady, 5 nodes, {percent:.0f} % of packets lost, {minutes}"
        yield Figure(what, target, "", [count], limit)
