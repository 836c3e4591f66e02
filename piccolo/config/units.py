"""Durations and sizes as people write them.

A plain number counts seconds; a unit may follow: ms, s, m (minutes), h, d. All of PICCOLO computes
in seconds, so only this module knows the units. Sizes count bytes, with the units KiB, MiB and GiB.
"""

from __future__ import annotations

import math
import re

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import kind, show

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d)?")


def parse_duration(value: object) -> float:
    """Seconds. Takes 10, 1.5, "10", "500ms", "1.5s", "5m", "2h" and "7d".

    Raises `InvalidSpec` for everything else, negative and infinite durations included.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 1e12 or not math.isfinite(value):
            raise InvalidSpec(f"{show(value)} is not a duration: it must be 0 or more seconds")
        return float(value)
    if not isinstance(value, str):
        raise InvalidSpec(f"must be a duration such as 10, 1.5s or 5m, not {kind(value)}")
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise InvalidSpec(
            f"{show(value)} is not a duration: write a number of seconds, or a number with one of"
            " the units ms, s, m, h, d, such as 1.5s or 5m"
        )
    return float(match[1]) * _SECONDS[match[2] or "s"]


def format_duration(seconds: float) -> str:
    """In the largest unit that leaves no fraction: `5 s`, `7 d`, `1.5 s`."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and (seconds / _SECONDS[unit]).is_integer():
            return f"{seconds / _SECONDS[unit]:.12g} {unit}"
    return f"{seconds:.12g} s"


_BYTES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,12}) ?(KiB|MiB|GiB)?")


def parse_size(value: object) -> int:
    """Bytes. Takes 65536, "65536", "64KiB", "1 MiB" and "2GiB". Raises `InvalidSpec` otherwise."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < 10**12:
            raise InvalidSpec("this is not a size: it must be 0 bytes or more, up to 1000 GB")
        return value
    if not isinstance(value, str):
        raise InvalidSpec(f"must be a size such as 1MiB, not {kind(value)}")
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise InvalidSpec(
            f"{show(value)} is not a size: write a whole number of bytes, or one with a unit:"
            " KiB, MiB or GiB"
        )
    return int(match[1]) * _BYTES[match[2] or ""]


def format_size(size: int) -> str:
    """In the largest unit that leaves no fraction: `1 MiB`, `1500 bytes`."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]} {unit}"
    return f"{size} bytes"
