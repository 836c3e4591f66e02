"""The regression gate of `./dev bench --check`: what it lets through, and what not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.gate import check as gate
from benchmarks.gate.counts import Baseline, Count, Entry, Verdict, judge
from benchmarks.ground import ROOT

BASELINE = Baseline("3.11", {"messages": Entry(720, 14.4, "per hour"), "writes": Entry(0, 0, "B")})
WRITES = Count("writes", 0, "B")


def verdicts(*counts: Count, python: str = "3.11") -> list[Verdict]:
    return [one.verdict for one in judge(counts, BASELINE, python)]


@pytest.mark.parametrize(
    ("messages", "verdict"),
    [
        (720, Verdict.SAME),
        (734, Verdict.SAME),
        (735, Verdict.WORSE),
        (706, Verdict.SAME),
        (705, Verdict.BETTER),
    ],
)
def test_less_is_better_and_a_little_is_nothing(messages: float, verdict: Verdict) -> None:
    assert verdicts(Count("messages", messages), WRITES) == [verdict, Verdict.SAME]


def test_where_nothing_was_written_a_byte_is_too_much() -> None:
    assert verdicts(Count("messages", 720), Count("writes", 1)) == [Verdict.SAME, Verdict.WORSE]


def test_a_count_can_neither_vanish_nor_appear_unseen() -> None:
    found = verdicts(Count("messages", 720), Count("bytes", 1))
    assert found == [Verdict.SAME, Verdict.NEW, Verdict.GONE]
    assert all(verdict.fails for verdict in found[1:])


def test_another_python_is_judged_by_what_it_does_not_change() -> None:
    counts = (Count("messages", 999, of_python=True), Count("writes", 1))
    assert verdicts(*counts, python="3.12") == [Verdict.ELSEWHERE, Verdict.WORSE]
    assert not Verdict.ELSEWHERE.fails


def test_what_is_accepted_is_the_baseline_and_keeps_what_it_was_allowed(tmp_path: Path) -> None:
    counts = [Count("messages", 800), Count("bytes", 5000, "B", 0.1)]
    path = tmp_path / "baseline.json"
    BASELINE.accepting(counts, "3.12").write(path)
    assert Baseline.read(path) == Baseline(
        "3.12", {"messages": Entry(800, 14.4, ""), "bytes": Entry(5000, 500, "B")}
    )
    assert list(json.loads(path.read_text())["counts"]) == ["bytes", "messages"]


@pytest.fixture
def committed(tmp_path: Path) -> tuple[Path, Sequence[Count]]:
    """A copy of the project's baseline, and counts that are just as it has them."""
    baseline = Baseline.read(gate.BASELINE)
    path = tmp_path / "baseline.json"
    baseline.write(path)
    return path, [Count(what, e.value, e.unit) for what, e in baseline.entries.items()]


def test_a_made_up_regression_is_refused_until_it_is_accepted(
    committed: tuple[Path, Sequence[Count]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, counts = committed
    assert gate.check(accept=False, path=path, count=lambda: counts) == 0
    raw = json.loads(path.read_text())
    raw["counts"]["idle node, wired: datagrams"]["value"] *= 0.9
    path.write_text(json.dumps(raw))
    capsys.readouterr()
    assert gate.check(accept=False, path=path, count=lambda: counts) == 1
    out = capsys.readouterr().out
    (worse,) = [line for line in out.splitlines() if line.endswith(Verdict.WORSE)]
    assert worse.startswith("idle node, wired: datagrams")
    assert "./dev bench --check --accept" in out
    assert gate.check(accept=True, path=path, count=lambda: counts) == 0
    assert gate.check(accept=False, path=path, count=lambda: counts) == 0


@pytest.mark.slow
def test_nothing_has_become_worse_than_the_baseline() -> None:
    """A process of its own, in which nothing else is imported or traced."""
    command = [sys.executable, "-m", "benchmarks", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
