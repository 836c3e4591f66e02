"""What a benchmark gives: figures, each with its target, and the plan it measures by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

Held = Literal["median", "worst"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. Faults are tried twice as often as the rest: their worst counts."""

    runs: int = 10
    steady: float = 600.0  # s of a steady state
    settle: float = 30.0  # s from Ready to the beginning of a steady state
    quick: bool = False

    @property
    def trials(self) -> int:
        return 2 * self.runs


QUICK = Plan(runs=3, steady=60.0, settle=10.0, quick=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. Without values it was not measured, and `unless` says why."""

    what: str
    target: str = ""
    unit: str = ""
    values: Sequence[float] = ()
    limit: float | None = None  # what `target` says, in `unit`
    held: Held = "median"  # what is held against the limit
    note: str = ""
    unless: str = ""  # why there are no values

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def misses(self) -> bool:
        if not self.values or self.limit is None:
            return False
        return (max(self.values) if self.held == "worst" else self.median) > self.limit

    def cells(self) -> list[str]:
        """what, target, median, min–max, runs, remark: as the table shows them."""
        if not self.values:
            return [self.what, self.target, "—", "—", "0", f"not measured: {self.unless}"]
        low, high = (_number(value, "") for value in (min(self.values), max(self.values)))
        span = "—" if len(self.values) == 1 else f"{low}–{high}"
        remark = "; ".join(filter(None, ("misses" if self.misses else "", self.note)))
        count = str(len(self.values))
        return [self.what, self.target, _number(self.median, self.unit), span, count, remark]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of PICCOLO's beside that of another program, measured in turn or at once.

    Without `theirs` it was not measured, and `unless` says why.
    """

    what: str
    peer: str
    unit: str = ""
    ours: Sequence[float] = ()
    theirs: Sequence[float] = ()  # in the same order as `ours`
    note: str = ""
    unless: str = ""

    @property
    def ratios(self) -> list[float]:
        """Theirs as a multiple of ours, run by run; none where ours is 0."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True) if ours]

    def cells(self) -> list[str]:
        """what, PICCOLO, peer, its figure, ratio, runs, remark: as the table shows them."""
        if not self.theirs:
            return [self.what, "—", self.peer, "—", "—", "0", f"not measured: {self.unless}"]
        ours, theirs = _span(self.ours, self.unit), _span(self.theirs, self.unit)
        ratio = _span(self.ratios, "×") if self.ratios else "—"
        return [self.what, ours, self.peer, theirs, ratio, str(len(self.ours)), self.note]


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark gave, by which plan, on what machine."""

    name: str
    plan: Plan
    machine: Mapping[str, str]
    figures: Sequence[Figure | Comparison]

    def keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def kept(cls, folder: Path, name: str) -> Result | None:
        """The newest result of that benchmark; None: there is none."""
        try:
            raw = json.loads((folder / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        figures = [_row(figure) for figure in raw["figures"]]
        return cls(name, Plan(**raw["plan"]), raw["machine"], figures)


def _row(raw: Mapping[str, Any]) -> Figure | Comparison:
    return Comparison(**raw) if "peer" in raw else Figure(**raw)


def _span(values: Sequence[float], unit: str) -> str:
    """Median, least and most."""
    if len(values) == 1:
        return _number(values[0], unit)
    low, high = (_number(value, "") for value in (min(values), max(values)))
    return f"{_number(median(values), unit)} ({low}–{high})"


def _number(value: float, unit: str) -> str:
    """Three digits or so: what the measurement can bear."""
    size = abs(value)
    if value == int(value) or size >= 100:
        text = f"{value:.0f}"
    else:
        text = f"{value:.1f}" if size >= 10 else f"{value:.2f}"
    return f"{text} {unit}".strip()
