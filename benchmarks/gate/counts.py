"""Counts, the baseline that they are held against, and the verdicts. No count is made here.

Less is better, always. A count may be off the baseline by what the baseline itself allows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Count:
    """`spread`: the share by which it may be off, when it has no baseline yet; `of_python`: other
    versions of Python give other values.
    """

    what: str
    value: float
    unit: str = ""
    spread: float = 0.02
    of_python: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the baseline."""

    value: float
    allowed: float  # by how much a count may be off, in `unit`
    unit: str


@dataclass(frozen=True, slots=True)
class Baseline:
    python: str  # "3.11"
    entries: Mapping[str, Entry]

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Nothing is in it when there is no such file."""
        if not path.exists():
            return cls("", {})
        raw = json.loads(path.read_text())
        return cls(raw["python"], {name: Entry(**entry) for name, entry in raw["counts"].items()})

    def write(self, path: Path) -> None:
        """For people to read: sorted, one count a line."""
        lines = []
        for name, entry in sorted(self.entries.items()):
            fields = {"value": entry.value, "allowed": entry.allowed, "unit": entry.unit}
            lines.append(f"    {_json(name)}: {_json(fields)}")
        counts = ",\n".join(lines)
        text = f'{{\n  "python": {_json(self.python)},\n  "counts": {{\n{counts}\n  }}\n}}\n'
        path.write_text(text)

    def accepting(self, counts: Sequence[Count], python: str) -> Baseline:
        """With the values of `counts`; what a known one is allowed stays."""
        entries = {}
        for count in counts:
            known = self.entries.get(count.what)
            allowed = known.allowed if known else _rounded(abs(count.value) * count.spread)
            entries[count.what] = Entry(_rounded(count.value), allowed, count.unit)
        return Baseline(python, entries)


class Verdict(StrEnum):
    SAME = ""
    WORSE = "WORSE"
    BETTER = "better: accept it"
    NEW = "NEW: accept it"
    GONE = "GONE: not counted any more"
    ELSEWHERE = "not compared: the baseline has another Python"

    @property
    def fails(self) -> bool:
        return self in (Verdict.WORSE, Verdict.NEW, Verdict.GONE)


@dataclass(frozen=True, slots=True)
class Judged:
    what: str
    verdict: Verdict
    count: Count | None
    entry: Entry | None

    def cells(self) -> list[str]:
        """what, unit, counted, baseline, allowed, verdict"""
        counted = f"{_rounded(self.count.value):,}" if self.count else "—"
        unit = self.count.unit if self.count else self.entry.unit if self.entry else ""
        baseline = f"{self.entry.value:,}" if self.entry else "—"
        allowed = f"± {self.entry.allowed:,}" if self.entry else "—"
        return [self.what, unit, counted, baseline, allowed, self.verdict]


def judge(counts: Sequence[Count], baseline: Baseline, python: str) -> Iterator[Judged]:
    """Each count, then what the baseline has beyond them."""
    for count in counts:
        entry = baseline.entries.get(count.what)
        yield Judged(count.what, _verdict(count, entry, baseline.python == python), count, entry)
    counted = {count.what for count in counts}
    for what, entry in baseline.entries.items():
        if what not in counted:
            yield Judged(what, Verdict.GONE, None, entry)


def _verdict(count: Count, entry: Entry | None, same_python: bool) -> Verdict:
    if entry is None:
        return Verdict.NEW
    if count.of_python and not same_python:
        return Verdict.ELSEWHERE
    off = count.value - entry.value
    if abs(off) <= entry.allowed:
        return Verdict.SAME
    return Verdict.WORSE if off > 0 else Verdict.BETTER


def _rounded(value: float) -> float:
    """Whole numbers where that loses nothing that counts."""
    return round(value) if value == int(value) or abs(value) >= 100 else round(value, 1)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
