from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import pytest

from piccolo.cli.nodes import split_changes
from piccolo.cli.output import Column, Table, age, size
from piccolo.core.errors import InvalidSpec

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (192, "3m12s"),
        (7500, "2h5m"),
        (3600, "1h"),
        (4 * 86400 + 3 * 3600, "4d3h"),
        (-5, "0s"),  # the master's clock is ahead of ours
    ],
)
def test_ages_have_at_most_two_units(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_an_unknown_time_has_no_age() -> None:
    assert age(None) == "-"


def test_sizes_are_binary() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 << 20, 3 << 40)] == [
        "0B",
        "1023B",
        "1.5Ki",
        "5.0Mi",
        "3.0Ti",
    ]


COLUMNS: list[Column[dict[str, str]]] = [
    Column("NAME", lambda r: r["name"]),
    Column("X", lambda r: r["x"], wide=True),
]


def test_tables_are_aligned_and_headed_once(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(COLUMNS, wide=True)
    table.print([{"name": "a-long-name", "x": "1"}, {"name": "b", "x": "2"}])
    table.print([{"name": "c", "x": "3"}])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["NAME          X", "a-long-name   1", "b             2", "c             3"]


@pytest.mark.parametrize(
    ("terminal", "wide", "text"),
    [(True, False, "xxxx…"), (True, True, "x" * 9), (False, False, "x" * 9)],
)
def test_only_a_terminal_has_too_little_room(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    wide: bool,
    text: str,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    columns: list[Column[str]] = [Column("TEXT", str, most=5)]
    Table(columns, wide).print(["x" * 9, "short"])
    assert capsys.readouterr().out.split() == ["TEXT", text, "short"]


def test_narrow_tables_leave_wide_columns_out(capsys: pytest.CaptureFixture[str]) -> None:
    Table(COLUMNS, wide=False).print([{"name": "a", "x": "1"}])
    assert capsys.readouterr().out == "NAME\na\n"


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Table(COLUMNS, wide=False).print([{"name": "a\x1b[31mb\n", "x": ""}])
    assert "\x1b" not in capsys.readouterr().out


def test_label_changes() -> None:
    assert split_changes(["a=1", "b=", "c-"]) == ({"a": "1", "b": ""}, ["c"])


@pytest.mark.parametrize("bad", ["a", "-", "=x", ""])
def test_what_is_no_label_change_is_refused(bad: str) -> None:
    with pytest.raises(InvalidSpec, match="KEY=VALUE"):
        split_changes([bad])
