"""What every engine does alike: which transactions it refuses, and in which words.

etcd's limits are the narrowest (128 operations and 1.5 MiB in one transaction by default), so what
passes here passes everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from piccolo.core.errors import Conflict, InvalidSpec
from piccolo.store.base import (
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    MAX_VALUE_BYTES,
    Condition,
    Operation,
    Put,
)

MAX_CONDITIONS = MAX_OPERATIONS - 1  # the etcd engine adds one of its own
MAX_COMMIT_BYTES = 1_300_000  # all keys and values together; leaves room for what etcd wraps around


def key_bytes(key: str) -> bytes:
    """The key as engines keep it; the order of these bytes is the order of keys.

    Raises `InvalidSpec` for a key that is empty, too long or not Unicode.
    """
    data = _encode(key)
    if not 0 < len(data) <= MAX_KEY_BYTES:
        raise InvalidSpec(
            f"a store key must have 1 to {MAX_KEY_BYTES} bytes, this one has {len(data)}: "
            f'"{key[:80]}"'
        )
    return data


def key_range(prefix: str, root: bytes = b"") -> tuple[bytes, bytes]:
    """The first key that begins with `prefix` (below `root`), and the first behind them all."""
    low = root + _encode(prefix)
    # No byte of UTF-8 is 0xFF, so the last one can always be counted up.
    return low, low[:-1] + bytes([low[-1] + 1]) if low else b"\xff"


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidSpec(f"the store key {text!r} is not valid Unicode") from None


def check(operations: Sequence[Operation], conditions: Sequence[Condition] = ()) -> None:
    """Raises `InvalidSpec` for a transaction that not every engine could take."""
    for what, count, limit in (
        ("operations", len(operations), MAX_OPERATIONS),
        ("conditions", len(conditions), MAX_CONDITIONS),
    ):
        if count > limit:
            raise InvalidSpec(f"{count} {what} in one transaction, at most {limit} are possible")
    size = sum(check_operation(operation) for operation in operations)
    size += sum(len(key_bytes(condition.key)) for condition in conditions)
    if size > MAX_COMMIT_BYTES:
        raise InvalidSpec(
            f"{size} bytes in one transaction, at most {MAX_COMMIT_BYTES} are possible"
        )
    keys: set[str] = set()
    for operation in operations:
        if operation.key in keys:
            raise InvalidSpec(f'two operations of one transaction name the key "{operation.key}"')
        keys.add(operation.key)


def check_operation(operation: Operation) -> int:
    """Its size in bytes. Raises `InvalidSpec` when its key or value is over the limits."""
    size = len(key_bytes(operation.key))
    if isinstance(operation, Put):
        length = len(operation.value) - operation.wrapping
        if length > MAX_VALUE_BYTES:
            raise InvalidSpec(
                f'the value of "{operation.key}" has {length} bytes, at most '
                f"{MAX_VALUE_BYTES} are possible"
            )
        size += length
    return size


def first_batch(puts: Sequence[Put]) -> Sequence[Put]:
    """As many of the first as one transaction takes, with a condition on the key of each."""
    size = 0
    for count, put in enumerate(puts):
        size += check_operation(put) + len(key_bytes(put.key))
        if count == MAX_CONDITIONS or (count and size > MAX_COMMIT_BYTES):
            return puts[:count]
    return puts


def conflict(condition: Condition, found: int) -> Conflict:
    """What is said of a condition that does not hold; `found` 0: the key is not there."""
    is_now = f"is at revision {found}" if found else "is not there"
    expected = f"at revision {condition.revision}" if condition.revision else "to be absent"
    return Conflict(f'"{condition.key}" {is_now}, expected {expected}: read it again')
