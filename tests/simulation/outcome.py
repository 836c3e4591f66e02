"""What became of a schedule, of either simulation."""

from __future__ import annotations

from dataclasses import dataclass

# s of virtual time from the last fault until all is as asked. What may follow on each other: an
# agent's pause before it connects (60 s on a slow link), the pause of a plan that came again and
# again (60 s), that of an instance whose start failed (60 s), and of a crash loop (here 8 s).
BOUND = 200.0
LATEST = 80  # lines of the story that a failure comes with


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    took: float  # s of virtual time until all was as asked
    steps: int  # what people and faults did
    broken: tuple[str, ...]
    story: tuple[str, ...]
