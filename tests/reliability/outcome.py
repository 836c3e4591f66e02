"""What a section of the reliability run gives: what was expected, and what was seen."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried, and the seed of all chance."""

    seed: int
    quick: bool = False

    def times(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def seconds(self, full: float, quick: float) -> float:
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `broken`: what was seen is not what was expected."""

    what: str
    expected: str
    seen: str
    broken: bool = False

    def cells(self) -> list[str]:
        return [self.what, self.expected, f"**BROKEN**: {self.seen}" if self.broken else self.seen]


@dataclass(frozen=True, slots=True)
class Section:
    """`run` yields rows as they are found; its docstring tells how that is tried.

    It raises `LabError` or `OSError` when it cannot be tried; what it finds broken is a row.
    """

    title: str
    run: Callable[[Effort], Iterator[Row]]
    needs: str = ""  # as `benchmarks.ground.lacking` takes it


@dataclass(frozen=True, slots=True)
class Result:
    """What one section gave, with what effort, on what machine."""

    name: str
    effort: Effort
    machine: Mapping[str, str]
    rows: Sequence[Row]
    seconds: float

    def keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def kept(cls, folder: Path, name: str) -> Result | None:
        """The newest result of that section; None: there is none."""
        try:
            raw = json.loads((folder / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        rows = [Row(**row) for row in raw["rows"]]
        return cls(name, Effort(**raw["effort"]), raw["machine"], rows, raw["seconds"])


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one between two."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
