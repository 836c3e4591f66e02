"""What the table of `./dev bench` says of figures that are known."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.figures import QUICK, Figure, Plan
from benchmarks.report import document, terminal

SLOW = Figure("start", "≤ 1 s", "s", [0.9, 1.5, 1.2], 1.0)
CALM = Figure("lost", "worst ≤ 5 s", "s", [2.0, 4.96, 2.5], 5.0, "worst")


def test_median_span_and_verdict() -> None:
    assert SLOW.cells() == ["start", "≤ 1 s", "1.20 s", "0.90–1.50", "3", "misses"]
    assert CALM.cells() == ["lost", "worst ≤ 5 s", "2.50 s", "2–4.96", "3", ""]


def test_the_worst_counts_where_the_target_says_so() -> None:
    values = [2.0, 2.0, 5.01]
    assert Figure("lost", "", "s", values, 5.0, "worst").misses
    assert not Figure("lost", "", "s", values, 5.0, "median").misses


@pytest.mark.parametrize(("values", "misses"), [([0], False), ([1], True)])
def test_a_target_of_none_at_all(values: list[float], misses: bool) -> None:
    assert Figure("false alarms", "0", "", values, 0.0).misses is misses


def test_what_was_not_measured_is_no_miss_and_says_why() -> None:
    figure = Figure("network", "≤ 1 KB/s", "KB/s", [], 1.0, unless="needs root")
    assert figure.cells() == ["network", "≤ 1 KB/s", "—", "—", "0", "not measured: needs root"]


def test_the_terminal_lines_up() -> None:
    headings, slow, calm = terminal([SLOW, CALM]).splitlines()
    assert headings.index("target") == slow.index("≤ 1 s") == calm.index("worst")
    assert headings.index("runs") + len("runs") == slow.index("3  misses") + 1 == len(calm)


def test_the_document_tells_machine_results_and_methods() -> None:
    text = document([SLOW], {"agent-start": "By a clock."}, {"memory": "1 GB"}, Plan())
    assert "| memory | 1 GB |" in text
    assert "| start | ≤ 1 s | 1.20 s | 0.90–1.50 | 3 | misses |" in text
    assert "### `./dev bench agent-start`\n\nBy a clock." in text
    assert "too short" not in text
    assert "too short to be quoted" in document([SLOW], {}, {}, QUICK)


def test_every_benchmark_tells_how_it_measures() -> None:
    assert [name for name, benchmark in BENCHMARKS.items() if len(benchmark.method) < 80] == []
