"""Values of a configuration as rows of a table and as JSON, as a file would have them."""

from __future__ import annotations

from typing import Any

from piccolo.cli.output import Column
from piccolo.config.origins import SECONDS, Source, Value
from piccolo.config.units import format_duration, format_size


def value_dict(value: Value) -> dict[str, Any]:
    """Durations are in seconds, sizes in bytes."""
    origin = value.origin
    return {
        "key": value.key,
        "value": value.plain(),
        "source": str(origin.source),
        "name": origin.name,
        "line": origin.line,
    }


def _text(value: Value) -> str:
    plain = value.plain()
    if value.unit and isinstance(plain, int | float):
        return format_duration(plain) if value.unit == SECONDS else format_size(int(plain))
    return _flow(plain)


def _flow(plain: object) -> str:
    if plain in (None, "", [], {}):
        return ""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, float):
        return f"{plain:g}"
    if isinstance(plain, dict):
        return ", ".join(f"{key}: {_inner(item)}" for key, item in plain.items())
    if isinstance(plain, list):
        return ", ".join(map(_inner, plain))
    return str(plain)


def _inner(plain: object) -> str:
    if isinstance(plain, dict):
        return f"{{{_flow(plain)}}}"
    return f"[{_flow(plain)}]" if isinstance(plain, list) else _flow(plain)


VALUE_COLUMNS: list[Column[Value]] = [
    Column("KEY", lambda v: v.key),
    Column("VALUE", _text, most=60),
    Column(
        "FROM",
        lambda v: str(v.origin),
        colour=lambda v: "grey" if v.origin.source is Source.DEFAULT else "",
    ),
]
