"""Durations of the command line, for the wire."""

from __future__ import annotations

from math import ceil

from piccolo.config.units import parse_duration
from piccolo.core.errors import InvalidSpec

_LONGEST = 2**32 - 1  # uint32


def whole_seconds(option: str, text: str, longest: int = _LONGEST) -> int:
    """`text` in seconds, rounded up. Raises `InvalidSpec` that names the option and its limits."""
    try:
        found = ceil(parse_duration(text))
    except InvalidSpec as error:
        raise InvalidSpec(f"{option}: {error}") from None
    if not 1 <= found <= longest:
        raise InvalidSpec(
            f"{option}: {text} is not possible: at least 1 s, at most {longest // 86_400} days"
        )
    return found
