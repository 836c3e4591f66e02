"""How waiting looks: a table that is redrawn in place on a terminal, else a line per change.

Nothing of it moves the cursor unless the standard output is a terminal that can.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from piccolo.cli.options import Output
from piccolo.cli.output import SayOnce, clean, paint
from piccolo.cli.show.workload_rows import nodes, ready, ready_words, why
from piccolo.cli.workloads.goals import Progress, Stage, Step

_PATIENCE = 1.0  # s, until it is said that the master has not answered yet
_FIRST = 0.3  # s, until the table is drawn: what is done by then needs none
_SPINNER = "|/-\\"
_TITLES = ("WORKLOAD", "STATE", "READY", "NODES", "MESSAGE")
_COLOUR = {Stage.FAILED: "red", Stage.OPEN: "yellow", Stage.DONE: "green"}

Clock = Callable[[], float]


class Display(Protocol):
    def show(self, progress: Progress) -> None:
        """There is news."""

    def note(self, text: str) -> None:
        """Something beside the goals, such as a lost connection."""

    def tick(self) -> None:
        """Some time has passed."""

    def close(self) -> None:
        """The waiting is over; what is printed from now on stands below."""


def display_for(output: Output) -> Display:
    if output not in (Output.TABLE, Output.WIDE):
        return Quiet()
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Live()
    return Plain()


class Quiet:
    """For programs, which read the end only."""

    def __init__(self) -> None:
        self._note = SayOnce()

    def show(self, progress: Progress) -> None:
        self._note.forget()  # the connection is there again

    def note(self, text: str) -> None:
        self._note(text)

    def tick(self) -> None: ...

    def close(self) -> None: ...


class Plain(Quiet):
    """A line for each workload that changes; none for what was as asked from the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, str] | None = None

    def show(self, progress: Progress) -> None:
        super().show(progress)
        if not progress.synced:
            return
        lines = {step.goal.name: line_of(step) for step in progress.steps}
        if self._told is None:
            self._told = {step.goal.name: lines[step.goal.name] for step in progress.at(Stage.DONE)}
        for name, line in lines.items():
            if self._told.get(name) != line:
                print(line, flush=True)
        self._told = lines


class Live:
    """Redraws its lines in place, on each tick."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._asked = self._begun
        self._progress: Progress | None = None
        self._note = ""
        self._drawn = 0  # lines above the cursor that are ours
        self._turn = 0

    def show(self, progress: Progress) -> None:
        if self._progress is None:
            self._begun = self._clock()
        self._progress = progress
        self._note = ""

    def note(self, text: str) -> None:
        self._note = clean(text)

    def tick(self) -> None:
        self._turn += 1
        spinner = _SPINNER[self._turn % len(_SPINNER)]
        passed = self._clock() - self._begun
        if self._progress is None:
            if passed >= _PATIENCE:
                self._draw([f"{spinner} no answer from the master yet, {passed:.0f}s"])
        elif passed >= _FIRST:
            self._draw([*self._table(), status_line(self._progress, passed, spinner, self._note)])

    def close(self) -> None:
        """The table stays, as it is at last; the line with the spinner goes."""
        if self._drawn:
            self._draw(self._table())

    def _table(self) -> list[str]:
        if self._progress is None or not self._progress.synced:
            return []
        width, height = shutil.get_terminal_size()
        return table(self._progress.steps, width, height - 2)  # the status line, and the cursor's

    def _draw(self, lines: Sequence[str]) -> None:
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        rows = "".join(f"{line}\x1b[K\n" for line in lines)
        # Without line wrap: a row that is too wide must not become two.
        sys.stdout.write(f"\x1b[?7l{up}\r{rows}\x1b[J\x1b[?7h")
        sys.stdout.flush()
        self._drawn = len(lines)


def table(steps: Sequence[Step], width: int, height: int) -> list[str]:
    """At most `height` lines, of `width` columns. Where not all fit: what failed, then what is
    open, and how many more there are."""
    room = max(1, height - 1)
    shown = steps
    if len(steps) > room:
        shown = sorted(steps, key=lambda step: step.stage.value)[: max(1, room - 1)]
    rows = [cells(step) for step in shown]
    widths = [max(map(len, column)) for column in zip(_TITLES, *rows, strict=True)]
    widths[-1] = max(len(_TITLES[-1]), width - sum(widths[:-1]) - 3 * (len(widths) - 1))
    lines = [paint(_row(_TITLES, widths), "bold")]
    for step, row in zip(shown, rows, strict=True):
        lines.append(_row(row, widths, _COLOUR[step.stage]))
    if more := len(steps) - len(shown):
        lines.append(f"… and {more} more")
    return lines


def _row(row: Sequence[str], widths: Sequence[int], colour: str = "") -> str:
    name, state, *rest = (text[:w].ljust(w) for text, w in zip(row, widths, strict=True))
    return "   ".join((name, paint(state, colour), *rest)).rstrip()


def cells(step: Step) -> tuple[str, str, str, str, str]:
    name, w = clean(step.goal.name), step.seen
    if w is None:
        if step.stage is Stage.FAILED:
            return name, "deleted", "-", "-", "somebody deleted it meanwhile"
        return name, "gone" if step.stage is Stage.DONE else "unknown", "-", "-", ""
    message = clean(why(w)) if why(w) else ""
    if not message and w.generation < step.goal.generation:
        message = f"generation {w.generation}, waits for {step.goal.generation}"
    return name, clean(w.state), ready(w), clean(nodes(w)), message


def line_of(step: Step) -> str:
    """The same as one line of its own."""
    name, state, _, where, message = cells(step)
    parts = [f"workload/{name}: {state}"]
    if step.seen is not None:
        parts.append(ready_words(step.seen))
        if where != "-":
            parts.append(f"on {where}")
    return ", ".join(parts) + (f": {message}" if message else "")


def status_line(progress: Progress, passed: float, spinner: str, note: str) -> str:
    total = len(progress.goals)
    done, failed = len(progress.at(Stage.DONE)), len(progress.at(Stage.FAILED))
    text = f"{spinner} {done} of {total} as asked, {passed:.0f}s"
    if failed:
        text += f", {failed} failed"
    return f"{text}; {note}" if note else text
