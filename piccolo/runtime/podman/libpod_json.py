"""One value of Podman's JSON at a time: what is of a wrong type is named in an `Unavailable`;
fields that are missing or null count as empty, since Podman leaves out what it has not got;
numbers out of range are clamped. Pure.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import isfinite
from typing import Any, NoReturn

from piccolo.core.errors import Unavailable

INT32 = 2**31 - 1
UINT32 = 2**32 - 1
UINT64 = 2**64 - 1

Object = dict[str, Any]


def parse(body: bytes | bytearray, what: str) -> object:
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        nonsense(what, "JSON", body[:200].decode("utf-8", "replace"))


def nonsense(what: str, expected: str, found: object) -> NoReturn:
    raise Unavailable(
        f"{what} from Podman should be {expected}, not {excerpt(found)}:"
        " see that it is Podman 4 or newer that listens at its socket"
    )


def excerpt(found: object) -> str:
    if isinstance(found, dict | list):
        return "an object" if isinstance(found, dict) else "a list"
    text = " ".join(clean(found if isinstance(found, str) else repr(found)).split())
    return (text if len(text) <= 300 else text[:300] + "…") or "nothing"


def clean(text: str) -> str:
    """Without lone surrogates, which JSON can say and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def as_object(value: object, what: str) -> Object:
    return value if isinstance(value, dict) else nonsense(what, "an object", value)


def as_list(value: object, what: str) -> list[Any]:
    if value is None:  # Go's empty list
        return []
    return value if isinstance(value, list) else nonsense(what, "a list", value)


def object_of(row: Object, key: str) -> Object:
    value = row.get(key)
    return {} if value is None else as_object(value, key)


def text_of(row: Object, key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    return clean(value) if isinstance(value, str) else nonsense(key, "a text", value)


def id_of(row: Object, key: str) -> str:
    return text_of(row, key) or nonsense(key, "an id", row.get(key))


def labels_of(row: Object) -> dict[str, str]:
    labels = object_of(row, "Labels")
    return {clean(key): text_of(labels, key) for key in labels}


def number_of(row: Object, key: str) -> float:
    value = row.get(key)
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    return nonsense(key, "a number", value)


def integer_of(row: Object, key: str, low: int, high: int) -> int:
    return int(min(max(number_of(row, key), low), high))


def time_of(row: Object, key: str) -> datetime | None:
    """Seconds since 1970, or RFC 3339. Before 1970 is Go's zero time: not yet."""
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            if time.year < 1970:
                return None
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        seconds = number_of(row, key)
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        nonsense(key, "a time", value)
