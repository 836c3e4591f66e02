"""The tables, on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.figures import Comparison, Figure, Plan, Result

OF_EACH = ("date", "before the first measurement", "peers")  # of the machine: differ part by part
HEADINGS = ["what", "target", "median", "min–max", "runs", "remarks"]
BESIDE = ["what", "PICCOLO", "peer", "its figure", "multiple of PICCOLO's", "runs", "remarks"]
_LEFT = {"what", "unit", "target", "peer", "remarks", "verdict"}  # columns of words


def extent(plan: Plan) -> str:
    text = (
        f"{plan.runs} runs each, {plan.trials} for faults; steady states are one run of"
        f" {plan.steady / 60:g} min, with one value per node"
    )
    if plan.quick:
        return f"**Quick run: too short to be quoted.** {text}."
    return f"{text[0].upper()}{text[1:]}."


def terminal(results: Sequence[Result]) -> str:
    tables = [(HEADINGS, _cells(results, Figure)), (BESIDE, _cells(results, Comparison))]
    return "\n\n".join(aligned(headings, rows) for headings, rows in tables if rows)


def document(results: Sequence[Result], methods: Mapping[str, str]) -> str:
    """The whole of docs/benchmarks.md. `methods`: name of the benchmark → how it measures."""
    machine = {k: v for k, v in (results[0].machine if results else {}).items() if k not in OF_EACH}
    parts = [
        "# Benchmarks",
        "Written by `./dev bench`; do not edit. Figures in brackets are the design's limits. The"
        " table judges by the median, or by the worst where the target says so.",
        _table(["machine", ""], [[name, value] for name, value in machine.items()]),
        "Master, agents, Podmans and clients share this machine, so that a machine each would do"
        " better.",
        "## Results",
        _results(HEADINGS, _cells(results, Figure)),
        "## Beside other programs",
        "Measured by `./dev bench --peers`: all on the same hosts, in the same run, each with its"
        " default settings. Medians, with least and most in brackets. What a multiple is of, was"
        " measured at the same moment or in turn with it.",
        _results(BESIDE, _cells(results, Comparison)),
        "## What a change may not make worse",
        "`./dev bench --check` counts what does not depend on how fast the machine is: messages and"
        " bytes of a node in an hour, bytes written to disk, instructions of the interpreter,"
        " modules imported, memory. It fails when a count is worse than"
        " [`benchmarks/baseline.json`](../benchmarks/baseline.json) allows; the tests run it."
        " `./dev bench --check --accept` makes what is counted the new baseline.",
        "## How it is measured",
    ]
    measured = {result.name: f"{extent(result.plan)}{_when(result.machine)}" for result in results}
    for name, text in methods.items():
        parts += [f"### `./dev bench {name}`", text, measured.get(name, "Not measured yet.")]
    return "\n\n".join(parts) + "\n"


def _cells(results: Sequence[Result], kind: type[Figure] | type[Comparison]) -> list[list[str]]:
    return [row.cells() for result in results for row in result.figures if isinstance(row, kind)]


def _when(machine: Mapping[str, str]) -> str:
    """When that part was measured, and beside what: the machine is not always quiet."""
    date, before, peers = (machine.get(key, "") for key in OF_EACH)
    told = "; before it: ".join(filter(None, (date, before)))
    text = f" Measured {told}." if told else ""
    return f"{text} With {peers}." if peers else text


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    lines = []
    for row in (headings, *rows):
        cells = [
            cell.ljust(width) if heading in _LEFT else cell.rjust(width)
            for heading, cell, width in zip(headings, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _results(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return _table(headings, rows) if rows else "Not measured yet."


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
