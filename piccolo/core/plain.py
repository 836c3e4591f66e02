"""Immutable dataclasses as JSON and back, with the standard library only.

For the agent, whose memory has no room for a validation library, and for what master and agent
must agree on byte by byte. What is at its default is left out, and keys that a class does not know
are ignored: so an older side can read what a newer one wrote.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import show

T = TypeVar("T")

_PLAIN = frozenset((str, int, float, bool, NoneType))


def encode(value: object) -> bytes:
    """Compact JSON with sorted keys: the same value always gives the same bytes."""
    plain = to_plain(value)
    text = json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def decode(cls: type[T], data: bytes, what: str) -> T:
    """The dataclass that `data` is. Raises `InvalidSpec` naming `what` when it is none."""
    try:
        found: T = _build(cls, json.loads(data))
        return found
    except (ValueError, TypeError) as error:
        raise InvalidSpec(f"{what} is no {cls.__name__}: {error}") from error
    except RecursionError:
        raise InvalidSpec(f"{what} is no {cls.__name__}: it is nested too deeply") from None


def to_plain(value: object) -> Any:
    """Dicts, lists, texts and numbers; a dataclass without what is at its default."""
    if type(value) in _PLAIN:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((name, getattr(value, name), usual) for name, usual in _defaults(type(value)))
        return {name: to_plain(found) for name, found, usual in pairs if found != usual}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_plain(item) for item in value]
    return value


@lru_cache(maxsize=64)
def _defaults(cls: type) -> tuple[tuple[str, object], ...]:
    return tuple((f.name, _default(f)) for f in fields(cls))


def _default(field: Field[Any]) -> object:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING


@lru_cache(maxsize=64)
def _types(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _build(expected: Any, found: Any) -> Any:
    origin = get_origin(expected)
    if origin in (Union, UnionType):
        if found is None and NoneType in get_args(expected):
            return None
        (expected,) = (a for a in get_args(expected) if a is not NoneType)
        return _build(expected, found)
    if origin is tuple:
        return tuple(_build(get_args(expected)[0], item) for item in _of(list, found))
    if origin is not None:  # a mapping
        return {_of(str, k): _build(get_args(expected)[1], v) for k, v in _of(dict, found).items()}
    if is_dataclass(expected) and isinstance(expected, type):
        return expected(**_arguments(expected, _of(dict, found)))
    if issubclass(expected, Enum):
        return _member(expected, found)
    if expected is datetime:
        return _aware(datetime.fromisoformat(_of(str, found)))
    if expected is float:
        return _finite(_of(int | float, found))
    return _of(expected, found)


def _arguments(cls: type, found: Mapping[str, Any]) -> dict[str, Any]:
    built = {}
    for name, expected in _types(cls).items():
        if name in found:
            try:
                built[name] = _build(expected, found[name])
            except (ValueError, TypeError) as error:
                raise ValueError(f"{name}: {error}") from None
    return built


def _member(cls: type[Enum], found: Any) -> Enum:
    try:
        return cls(found)
    except ValueError:
        raise ValueError(f"{show(found)} is no {cls.__name__}") from None


def _aware(found: datetime) -> datetime:
    if found.tzinfo is None:
        raise ValueError(f"the time {found} has no time zone")
    return found


def _finite(found: float) -> float:
    if abs(found) > sys.float_info.max or found != found:  # of JSON, Python takes NaN and 1e999
        raise ValueError("a number is too large, or is none")
    return float(found)


def _of(expected: Any, found: Any) -> Any:
    if not isinstance(found, expected) or (isinstance(found, bool) and expected is not bool):
        wanted = getattr(expected, "__name__", expected)
        raise TypeError(f"{show(found)} is not of type {wanted}")
    if isinstance(found, str) and not found.isascii():
        found.encode()  # JSON can say lone surrogates, which nothing else takes
    return found
