"""What the table of `./dev bench` says of figures that are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.catalogue import ALL
from benchmarks.figures import QUICK, Comparison, Figure, Plan, Result
from benchmarks.report import document, terminal

SLOW = Figure("start", "≤ 1 s", "s", [0.9, 1.5, 1.2], 1.0)
CALM = Figure("lost", "worst ≤ 5 s", "s", [2.0, 4.96, 2.5], 5.0, "worst")
BESIDE = Comparison("cut → lost", "Serf", "s", [2.0, 3.0, 2.5], [6.0, 6.0, 10.0])


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
    headings, slow, calm = terminal([Result("a", Plan(), {}, [SLOW, CALM])]).splitlines()
    assert headings.index("target") == slow.index("≤ 1 s") == calm.index("worst")
    assert headings.index("runs") + len("runs") == slow.index("3  misses") + 1 == len(calm)


def test_a_peer_is_compared_run_by_run() -> None:
    assert BESIDE.cells() == [
        *("cut → lost", "2.50 s (2–3)", "Serf", "6 s (6–10)", "3 × (2–4)", "3"),
        "",
    ]
    none = Comparison("false alarms", "Serf", "", [0.0], [2.0])
    assert none.cells() == ["false alarms", "0", "Serf", "2", "—", "1", ""]


def test_a_peer_that_cannot_run_here_has_no_figure() -> None:
    absent = Comparison("cut → lost", "Serf", unless="serf is not installed")
    cells = ["cut → lost", "—", "Serf", "—", "—", "0", "not measured: serf is not installed"]
    assert absent.cells() == cells


def test_peers_have_a_table_of_their_own() -> None:
    results = [
        Result("a", Plan(), {}, [SLOW]),
        Result("b", Plan(), {"peers": "serf 0.9"}, [BESIDE]),
    ]
    ours, peers = terminal(results).split("\n\n")
    assert "cut → lost" not in ours
    assert "start" not in peers
    text = document(results, {"a": "By a clock.", "b": "By two."})
    row = "| cut → lost | 2.50 s (2–3) | Serf | 6 s (6–10) | 3 × (2–4) | 3 |  |"
    assert row in text.partition("## Beside other programs")[2]
    assert "one value per node. With serf 0.9." in text


def test_the_document_tells_machine_results_and_methods() -> None:
    result = Result("agent-start", Plan(), {"memory": "1 GB"}, [SLOW])
    text = document([result], {"agent-start": "By a clock.", "idle": "By waiting."})
    assert "| memory | 1 GB |" in text
    assert "| start | ≤ 1 s | 1.20 s | 0.90–1.50 | 3 | misses |" in text
    assert "### `./dev bench agent-start`\n\nBy a clock.\n\n10 runs each" in text
    assert "By waiting.\n\nNot measured yet." in text
    assert "too short" not in text
    quick = Result("agent-start", QUICK, {}, [SLOW])
    assert "too short to be quoted" in document([quick], {"agent-start": ""})


def test_results_are_kept_for_the_document(tmp_path: Path) -> None:
    result = Result("agent-start", Plan(runs=3), {"memory": "1 GB"}, [SLOW])
    assert Result.kept(tmp_path, "agent-start") is None
    result.keep(tmp_path / "new")
    assert Result.kept(tmp_path / "new", "agent-start") == result
    beside = Result("peers", Plan(), {}, [BESIDE])
    beside.keep(tmp_path)
    assert Result.kept(tmp_path, "peers") == beside


def test_every_benchmark_tells_how_it_measures() -> None:
    assert [name for name, benchmark in ALL.items() if len(benchmark.method) < 80] == []
