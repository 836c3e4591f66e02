"""Having the engine store again what it holds, as it is: for a new key of the layer below."""

from __future__ import annotations

from collections.abc import Iterable

from piccolo.core.errors import Conflict, StaleGeneration
from piccolo.store.base import Change, Put
from piccolo.store.mirror.epoch import EPOCH_KEY
from piccolo.store.mirror.follower import Follower
from piccolo.store.mirror.writer import Writer
from piccolo.store.rules import first_batch


async def rewrite(keys: Iterable[str], writer: Writer, follower: Follower) -> int:
    """See `MirroredStore.rewrite`."""
    todo = dict.fromkeys(keys)
    count = 0
    if EPOCH_KEY in todo:
        del todo[EPOCH_KEY]
        await writer.write_stamp()
        count += 1
    while True:
        values = ((key, writer.known.value(key)) for key in todo)
        batch = first_batch([Put(key, value) for key, value in values if value is not None])
        if not batch:
            return count
        wanted = {put.key for put in batch}
        if not writer.busy.isdisjoint(wanted):
            await writer.turn(wanted)
            continue  # the values may be others now
        try:
            await writer.write(batch, [writer.known.condition(put.key) for put in batch])
        except StaleGeneration:
            raise
        except Conflict:  # somebody else was there: what he wrote is stored again
            for put in batch:
                entry = await writer.engine.get(put.key)
                if entry is None:
                    del todo[put.key]
                else:
                    await follower.take(Change(put.key, entry.value, entry.revision))
        else:
            count += len(batch)
            for put in batch:
                del todo[put.key]
