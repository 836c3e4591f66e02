"""docs/reliability.md, from what the sections gave."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from tests.reliability.outcome import Result, Section

HEADINGS = ["what", "expected", "seen"]
OF_THE_MACHINE = ("processor", "memory", "system", "Python", "Podman")


def document(sections: Mapping[str, Section], results: Mapping[str, Result]) -> str:
    first = next(iter(results.values()), None)
    parts = [
        "# Reliability",
        "Written by `./dev lab --full`; do not edit. What was broken on purpose, what was expected"
        " of it, and what was seen. The same seed tries the same things again. The lab itself is"
        " described in [lab.md](lab.md), the design of failure detection in"
        " [liveness.md](liveness.md).",
    ]
    if first is not None:
        rows = [[name, first.machine[name]] for name in OF_THE_MACHINE if name in first.machine]
        parts.append(_table(["machine", ""], rows))
    for name, section in sections.items():
        parts += [f"## {section.title}", method(section)]
        result = results.get(name)
        if result is None:
            parts.append(f"Not tried yet: `./dev lab --full {name}`.")
            continue
        parts += [_table(HEADINGS, [row.cells() for row in result.rows]), _extent(result)]
    return "\n\n".join(parts) + "\n"


def method(section: Section) -> str:
    return inspect.getdoc(section.run) or ""


def _extent(result: Result) -> str:
    quick = "**Quick run: too short to be quoted.** " if result.effort.quick else ""
    return (
        f"{quick}`./dev lab --full {result.name} --seed {result.effort.seed}`, which took"
        f" {_duration(result.seconds)}, {result.machine.get('date', '')}, of PICCOLO"
        f" {result.machine.get('PICCOLO', '')}."
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
