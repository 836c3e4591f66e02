"""The table, on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.figures import Figure, Plan, Result

OF_EACH = ("date", "before the first measurement")  # of the machine: differ from part to part
HEADINGS = ["what", "target", "median", "min–max", "runs", "remarks"]


def extent(plan: Plan) -> str:
    text = (
        f"{plan.runs} runs each, {plan.trials} for faults; steady states are one run of"
        f" {plan.steady / 60:g} min, with one value per node"
    )
    if plan.quick:
        return f"**Quick run: too short to be quoted.** {text}."
    return f"{text[0].upper()}{text[1:]}."


def terminal(figures: Sequence[Figure]) -> str:
    rows = [HEADINGS, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(row[2:5], widths[2:5], strict=True)]
        lines.append("  ".join([*left, *right, row[5]]).rstrip())
    return "\n".join(lines)


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
        _table(HEADINGS, [figure.cells() for result in results for figure in result.figures]),
        "## How it is measured",
    ]
    measured = {result.name: f"{extent(result.plan)}{_when(result.machine)}" for result in results}
    for name, text in methods.items():
        parts += [f"### `./dev bench {name}`", text, measured.get(name, "Not measured yet.")]
    return "\n\n".join(parts) + "\n"


def _when(machine: Mapping[str, str]) -> str:
    """When that part was measured, and beside what: the machine is not always quiet."""
    shown = [machine[key] for key in OF_EACH if key in machine]
    return f" Measured {'; before it: '.join(shown)}." if shown else ""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
