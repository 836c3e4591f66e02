from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piccolo.config.units import format_duration, format_size, parse_duration, parse_size
from piccolo.core.errors import InvalidSpec


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (10, 10.0),
        (0, 0.0),
        (1.5, 1.5),
        ("10", 10.0),
        ("10s", 10.0),
        ("1.5s", 1.5),
        ("1.5 s", 1.5),
        (" 5m ", 300.0),
        ("500ms", 0.5),
        ("2h", 7200.0),
        ("7d", 604_800.0),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds
    assert type(parse_duration(value)) is float


@pytest.mark.parametrize(
    "value",
    ["", "s", "-1s", "+1s", "1,5s", "10 seconds", "1m30s", "5M", "1e3", ".5s", "5.s", "１s", "5\0s",
     "9" * 10_000, -1, -0.5, math.inf, math.nan, 1e300, 10**400, True, None, [], {}],
)  # fmt: skip
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(InvalidSpec, match="duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (0, "0 s"), (1.5, "1.5 s"), (60, "1 m"), (90, "90 s"), (7 * 86400, "7 d")],
)
def test_format(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**6))
def test_what_is_formatted_reads_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 0), (65536, 65536), ("65536", 65536), ("64KiB", 65536), (" 1 MiB ", 1 << 20),
     ("2GiB", 2 << 30)],
)  # fmt: skip
def test_sizes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    ["", "MiB", "-1", "1.5MiB", "1MB", "1M", "1mib", "1_000", "１", "9" * 10_000, "1KiB 2",
     -1, 10**12, 10**400, 1.0, True, None, []],
)  # fmt: skip
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(InvalidSpec, match="size"):
        parse_size(value)


@given(st.integers(0, 10**9))
def test_a_size_that_is_formatted_reads_back(size: int) -> None:
    assert parse_size(format_size(size).removesuffix(" bytes")) == size
