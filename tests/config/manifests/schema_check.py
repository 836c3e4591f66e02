"""As much of a JSON Schema validator (draft 2020-12) as our schemas need; it refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_NOTES = {"$schema", "$defs", "title", "description", "default"}


def errors(schema: dict[str, Any], value: Any, root: dict[str, Any], at: str = "") -> Iterator[str]:
    """Why `value` does not fit `schema`, which is part of `root`."""
    for word, wanted in schema.items():
        if word not in _NOTES:
            yield from _CHECKS[word](schema, wanted, value, root, at)


def _ref(_: Any, wanted: str, value: Any, root: Any, at: str) -> Iterator[str]:
    yield from errors(root["$defs"][wanted.removeprefix("#/$defs/")], value, root, at)


def _type(_: Any, wanted: str, value: Any, root: Any, at: str) -> Iterator[str]:
    fits = isinstance(value, _TYPES[wanted])
    if not fits or (isinstance(value, bool) and wanted != "boolean"):
        yield f"{at} is no {wanted}"


def _enum(_: Any, wanted: list[Any], value: Any, root: Any, at: str) -> Iterator[str]:
    if value not in wanted:
        yield f"{at} is none of {wanted}"


def _any(_: Any, wanted: list[Any], value: Any, root: Any, at: str) -> Iterator[str]:
    if all(any(errors(s, value, root, at)) for s in wanted):
        yield f"{at} fits none"


def _one(_: Any, wanted: list[Any], value: Any, root: Any, at: str) -> Iterator[str]:
    if sum(not any(errors(s, value, root, at)) for s in wanted) != 1:
        yield f"{at} does not fit exactly one"


def _all(_: Any, wanted: list[Any], value: Any, root: Any, at: str) -> Iterator[str]:
    for s in wanted:
        yield from errors(s, value, root, at)


def _if(schema: Any, wanted: Any, value: Any, root: Any, at: str) -> Iterator[str]:
    if not any(errors(wanted, value, root, at)):
        yield from errors(schema["then"], value, root, at)


def _properties(_: Any, wanted: Any, value: Any, root: Any, at: str) -> Iterator[str]:
    for key in wanted.keys() & value.keys() if isinstance(value, dict) else ():
        yield from errors(wanted[key], value[key], root, f"{at}.{key}")


def _additional(schema: Any, wanted: Any, value: Any, root: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for key in value.keys() - schema.get("properties", {}).keys():
        if wanted is False:
            yield f"{at}.{key} is unknown"
        elif isinstance(wanted, dict):
            yield from errors(wanted, value[key], root, f"{at}.{key}")


def _required(_: Any, wanted: list[str], value: Any, root: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{at}.{key} is missing" for key in wanted if key not in value)


def _items(_: Any, wanted: Any, value: Any, root: Any, at: str) -> Iterator[str]:
    for index, item in enumerate(value) if isinstance(value, list) else ():
        yield from errors(wanted, item, root, f"{at}[{index}]")


def _pattern(_: Any, wanted: str, value: Any, root: Any, at: str) -> Iterator[str]:
    if isinstance(value, str) and not re.search(wanted, value):
        yield f"{at} does not match {wanted}"


def _bounds(least: bool, kinds: tuple[type, ...]) -> Any:
    def check(_: Any, wanted: float, value: Any, root: Any, at: str) -> Iterator[str]:
        if not isinstance(value, kinds):
            return
        measured: Any = value
        number = measured if int in kinds else len(measured)
        if (number < wanted) if least else (number > wanted):
            yield f"{at} is out of bounds"

    return check


_CHECKS: dict[str, Any] = {
    "$ref": _ref,
    "type": _type,
    "enum": _enum,
    "const": lambda s, wanted, v, r, at: _enum(s, [wanted], v, r, at),
    "anyOf": _any,
    "oneOf": _one,
    "allOf": _all,
    "if": _if,
    "then": lambda *_: (),
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": lambda s, w, v, r, at: (e for key in v for e in errors(w, key, r, at)),
    "required": _required,
    "items": _items,
    "pattern": _pattern,
    "minimum": _bounds(True, (int, float)),
    "maximum": _bounds(False, (int, float)),
    "minLength": _bounds(True, (str,)),
    "maxLength": _bounds(False, (str,)),
    "minItems": _bounds(True, (list,)),
    "maxItems": _bounds(False, (list,)),
    "maxProperties": _bounds(False, (dict,)),
}
