"""What a storm leaves behind: counts, times, and everything that must not be."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

from tests.lab.cluster import Lab
from tests.reliability.outcome import Row


@dataclass
class Findings:
    """`lost`: everything that must not be, in words."""

    title: str
    lost: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def took(self, what: str, since: float) -> None:
        self.seconds.setdefault(what, []).append(time.monotonic() - since)

    def look_for_tracebacks(self, lab: Lab) -> None:
        for program in (lab.master_proc, *lab.agents.values()):
            if program is not None and "Traceback" in program.log.read_text():
                self.lost.append(f"a traceback in the log of {program.name} on {program.host.name}")

    def row(self, expected: str) -> Row:
        """As a line of the table; the first few of what was lost stand for all."""
        seen = [f"{what}: {number:,}" for what, number in self.counts.items()]
        for what, seconds in self.seconds.items():
            middle, most = statistics.median(seconds), max(seconds)
            spread = f"median {middle:.2f} s, at most {most:.2f} s"
            seen.append(f"{what}: {spread if len(seconds) > 1 else f'{most:.2f} s'}")
        if self.lost:
            seen.insert(0, f"{len(self.lost)} things wrong, such as: {'; '.join(self.lost[:3])}")
        return Row(self.title, expected, "; ".join(seen), bool(self.lost))
