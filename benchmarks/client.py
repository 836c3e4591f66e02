"""How long a person waits for an answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, Plan
from benchmarks.ground import join, make_lab
from tests.lab.cluster import Lab


def client(plan: Plan) -> Iterator[Figure]:
    """`piccolo get nodes` in a cluster of three: from the start of the process to its end, and in
    turn with it `python -c pass` in the same virtual environment, which is what every Python
    program costs here before it begins. The first of each does not count.
    """
    with make_lab(3) as lab:
        lab.start_master()
        join(lab)
        runs = [
            (
                _took(lab, [str(lab.program), "get", "nodes"]),
                _took(lab, [sys.executable, "-c", "pass"]),
            )
            for _ in range(plan.runs + 1)
        ][1:]
    whole = [ms for ms, _ in runs]
    yield Figure("piccolo get nodes", "≤ 250 ms, aim 150", "ms", whole, 250.0)
    yield Figure("— beside it, python -c pass", "", "ms", [bare for _, bare in runs])
    yield Figure("— as a multiple of that", "", "×", [ms / bare for ms, bare in runs])


def _took(lab: Lab, command: Sequence[str]) -> float:
    """Milliseconds."""
    begun = time.monotonic()
    lab.site.run([*lab.master.prefix(), *command], env=lab.client_env())
    return (time.monotonic() - begun) * 1000
