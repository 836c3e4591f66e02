"""`./dev bench --check`: the counts, their baseline, and an exit code."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.gate.counts import Baseline, Count, judge
from benchmarks.gate.programs import program_counts
from benchmarks.gate.session import session_counts
from benchmarks.ground import ROOT
from benchmarks.report import aligned

BASELINE = ROOT / "benchmarks" / "baseline.json"
HEADINGS = ["what", "unit", "counted", "baseline", "allowed", "verdict"]


def count_all() -> list[Count]:
    return [*session_counts(), *program_counts()]


def check(
    *,
    accept: bool,
    path: Path = BASELINE,
    count: Callable[[], Sequence[Count]] = count_all,
) -> int:
    """Prints a table; 1: something is worse than the baseline allows, or not in it."""
    python = ".".join(platform.python_version_tuple()[:2])
    counts = count()
    baseline = Baseline.read(path)
    judged = list(judge(counts, baseline, python))
    print(aligned(HEADINGS, [one.cells() for one in judged]))
    if accept:
        baseline.accepting(counts, python).write(path)
        print(f"\nwritten: {path.name}; commit it with what changed the counts, and say why")
        return 0
    failed = [one for one in judged if one.verdict.fails]
    if failed:
        print(
            f"\n{len(failed)} of {len(judged)} counts are not as {path.name} has them. Is that"
            " wanted? Then accept it: ./dev bench --check --accept"
        )
        return 1
    print(f"\nall {len(judged)} counts are as {path.name} has them, or better")
    return 0
