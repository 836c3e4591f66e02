"""Messages have the types that they declare.

betterproto2 believes the wire: a number sent for a string arrives as a number, a group as None, of
a oneof several members, so that a stranger's bytes would fail somewhere in our handlers. Checked
here, before anyone sees it.
"""

from __future__ import annotations

from typing import Any, cast

import betterproto2 as b

_INTEGERS = (
    b.TYPE_ENUM,
    *(b.TYPE_INT32, b.TYPE_INT64, b.TYPE_UINT32, b.TYPE_UINT64, b.TYPE_SINT32, b.TYPE_SINT64),
    *(b.TYPE_FIXED32, b.TYPE_FIXED64, b.TYPE_SFIXED32, b.TYPE_SFIXED64),
)
_TYPES: dict[str, type] = {
    b.TYPE_STRING: str,
    b.TYPE_BYTES: bytes,
    b.TYPE_BOOL: bool,
    b.TYPE_FLOAT: float,
    b.TYPE_DOUBLE: float,
    **dict.fromkeys(_INTEGERS, int),
}


def check(message: b.Message) -> None:
    """Raises `TypeError` that names the field."""
    declared = cast(Any, message)._betterproto
    for name, members in declared.oneof_field_by_group.items():
        if sum(getattr(message, member.name) is not None for member in members) > 1:
            raise TypeError(f"{name} is more than one thing")
    for name, meta in declared.meta_by_field_name.items():
        value = getattr(message, name)
        if meta.proto_type == b.TYPE_MAP:
            of_keys, of_values = meta.map_meta
            for key, item in value.items():
                _check(name, of_keys.proto_type, key)
                _check(name, of_values.proto_type, item)
        elif meta.repeated:
            for item in value:
                _check(name, meta.proto_type, item)
        elif value is not None or not (
            meta.optional or meta.group or meta.proto_type == b.TYPE_MESSAGE
        ):
            _check(name, meta.proto_type, value)


def _check(name: str, proto_type: str, value: Any) -> None:
    if isinstance(value, b.Message):
        check(value)
        right = proto_type == b.TYPE_MESSAGE
    elif proto_type == b.TYPE_MESSAGE:  # a time, a duration: made by their own messages
        right = not isinstance(value, int | float | bytes | str | None)
    else:
        right = isinstance(value, _TYPES[proto_type])
    if not right:
        raise TypeError(f"{name} is no {proto_type}")
