"""Printing: tables for people, JSON and YAML for programs, colours only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from piccolo.cli.options import Output

T = TypeVar("T")

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "grey": "90", "bold": "1"}


_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(text: str, colour: str) -> str:
    """`text` in a colour, on a terminal that has not set NO_COLOR (no-color.org)."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour and _coloured() else text


def age(then: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in at most two units: 45s, 3m12s, 2h5m, 4d3h."""
    if then is None:
        return "-"
    return age_of(((now or datetime.now(UTC)) - then).total_seconds())


def age_of(seconds: float) -> str:
    """A time span, likewise."""
    whole = max(0, int(seconds))
    for size, unit, small, sub in _UNITS:
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size}{unit}{rest}{sub}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def size(number: float) -> str:
    """Bytes in binary units."""
    for unit in ("B", "Ki", "Mi", "Gi"):
        if number < 1024:
            return f"{number:.0f}{unit}" if unit == "B" else f"{number:.1f}{unit}"
        number /= 1024
    return f"{number:.1f}Ti"


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table. `wide`: shown with `-o wide` only. `volatile`: changes by the mere
    passing of time, which is no news to somebody who watches. `width`: at least. `most`: so many
    characters are shown on a terminal, unless with `-o wide`; 0: all."""

    title: str
    value: Callable[[T], str]
    wide: bool = False
    colour: Callable[[T], str] | None = None
    volatile: bool = False
    width: int = 0
    most: int = 0


class Table(Generic[T]):
    """Prints rows aligned. Rows that come later (`add`) keep the widths of the first ones."""

    def __init__(self, columns: Sequence[Column[T]], wide: bool) -> None:
        self._columns = [c for c in columns if wide or not c.wide]
        self._cut = not wide and sys.stdout.isatty()
        self._widths = [max(len(c.title), c.width) for c in self._columns]
        self._headed = False

    def news(self, row: T) -> tuple[str, ...]:
        """What of `row` is worth a new line when it changes."""
        return tuple(c.value(row) for c in self._columns if not c.volatile)

    def print(self, rows: Iterable[T]) -> None:
        rows = list(rows)
        cells = [[self._cell(c, row) for c in self._columns] for row in rows]
        for line in cells:
            self._widths = [max(w, len(v)) for w, v in zip(self._widths, line, strict=True)]
        if not self._headed:
            self._headed = True
            titles = (c.title.ljust(w) for c, w in zip(self._columns, self._widths, strict=True))
            print(paint("   ".join(titles).rstrip(), "bold"))
        for row, line in zip(rows, cells, strict=True):
            parts = []
            for column, width, text in zip(self._columns, self._widths, line, strict=True):
                colour = column.colour(row) if column.colour else ""
                parts.append(paint(text, colour) + " " * (width - len(text)))
            print("   ".join(parts).rstrip(), flush=True)

    def _cell(self, column: Column[T], row: T) -> str:
        text = clean(column.value(row))
        if self._cut and 0 < column.most < len(text):
            return text[: column.most - 1] + "…"
        return text


def print_list(
    items: Sequence[T],
    columns: Sequence[Column[T]],
    to_dict: Callable[[T], Any],
    name: Callable[[T], str],
    output: Output,
    *,
    none: str,
) -> None:
    """A list in any of the formats; `none`: what is said when it is empty."""
    if output in (Output.JSON, Output.YAML):
        dump([to_dict(item) for item in items], output)
    elif output is Output.NAME:
        for item in items:
            print(name(item))
    elif items:
        Table(columns, output is Output.WIDE).print(items)
    else:
        say(none)


def clean(text: str) -> str:
    """One line, no control characters: a name from elsewhere must not drive the terminal."""
    text = " | ".join(text.splitlines())
    return "".join(c if c.isprintable() else "�" for c in text) or "-"


def dump(data: Any, output: Output) -> None:
    """Print `data` as JSON or YAML."""
    print(to_text(data, output), flush=True)


def to_text(data: Any, output: Output, *, one_line: bool = False) -> str:
    if output is Output.JSON:
        import json

        return json.dumps(data, ensure_ascii=False, indent=None if one_line else 2)
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return ("---\n" + text if one_line else text).rstrip()


def say(message: str, colour: str = "") -> None:
    """A word to the person at the terminal, beside what the command prints."""
    print(paint(f"piccolo: {message}", colour), file=sys.stderr)


def note(message: str) -> None:
    """Something about what was done that one may not expect."""
    print(f"{paint('note:', 'yellow')} {clean(message)}", file=sys.stderr)


class SayOnce:
    """Says what has not been said since `forget`: what is tried again fails in the same way."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            say(message)

    def forget(self) -> None:
        self._said.clear()


def warn_if_degraded(degraded: bool, message: str) -> None:
    if degraded:
        say(f"the master is degraded: {message}", "yellow")
