"""How often an engine was loaded into a mirror, kept in the engine under a key of its own.

Each time opens a new range of revisions, above all that were given out before. Reading and writing
the key, which nobody else uses, tells whether the engine does so at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from piccolo.core.errors import InvalidSpec
from piccolo.store.base import Condition, Put, Snapshot, Store

EPOCH_KEY = ".mirror"
EPOCH_BITS = 40  # a mirror may live for that many changes


async def begin(engine: Store, found: Snapshot) -> int:
    """Begin the next epoch of an engine that holds what was `found`."""
    last = next((entry for entry in found.entries if entry.key == EPOCH_KEY), None)
    try:
        epoch = int(last.value) + 1 if last else 1
    except ValueError as error:
        raise InvalidSpec(f'what the store holds under "{EPOCH_KEY}" is no number') from error
    await engine.commit([stamp(epoch)], [Condition(EPOCH_KEY, last.revision if last else 0)])
    return epoch


def stamp(epoch: int) -> Put:
    return Put(EPOCH_KEY, b"%d" % epoch)


def first_revision(epoch: int) -> int:
    return epoch << EPOCH_BITS


def refuse_own(keys: Iterable[str]) -> None:
    """Raises `InvalidSpec` when the mirror's own key is among `keys`."""
    if EPOCH_KEY in keys:
        raise InvalidSpec(f'the store key "{EPOCH_KEY}" is the store\'s own')
