"""What the bytes in the store mean: JSON of the dataclasses in `core`.

The same value always gives the same bytes, so that bytes can be compared instead of values. Keys
that a class does not know are ignored: an older master can read what a newer one wrote.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from piccolo.core.errors import InvalidSpec


def encode(value: object) -> bytes:
    """Compact JSON with sorted keys."""
    plain = to_jsonable_python(value, fallback=dict)  # the fallback is for other mappings
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(cls: Any, data: bytes, key: str) -> Any:
    """The value of type `cls` (a dataclass, or a tuple or mapping of them) that stands under `key`.

    Raises `InvalidSpec` naming the key when `data` is no such value.
    """
    try:
        return _adapter(cls).validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec(
            f'what the store holds under "{key}" is no {getattr(cls, "__name__", cls)}: '
            f"{where + ': ' if where else ''}{first['msg']}"
        ) from error


@lru_cache(maxsize=256)
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)
