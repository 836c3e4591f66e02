"""Values in which nothing is at its default, for tests that nothing gets lost."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

NOON = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))


def filled(cls: Any, name: str = "x") -> Any:
    """A value of a type in which nothing is at its default, all the way down."""
    origin, args = get_origin(cls), get_args(cls)
    if origin in (Union, UnionType):
        return filled(next(a for a in args if a is not NoneType), name)
    if origin is tuple:
        return (filled(args[0], f"{name}1"), filled(args[0], f"{name}2"))
    if origin is not None:
        return {"k": filled(args[1], name), "Ä/ß.": filled(args[1], f"{name}2")}
    if is_dataclass(cls) and isinstance(cls, type):
        types = get_type_hints(cls)
        return cls(**{f.name: _other_than(f, filled(types[f.name], f.name)) for f in fields(cls)})
    if issubclass(cls, Enum):
        return list(cls)[-1]
    if cls is bool:
        return True
    return {int: 42, float: 2.5, datetime: NOON}.get(cls, f'{name} "ü" \u2028 \x00')


def _other_than(field: Any, value: Any) -> Any:
    """Where the default is what we would fill in."""
    if field.default is MISSING or field.default != value:
        return value
    return not value if isinstance(value, bool) else next(m for m in type(value) if m != value)
