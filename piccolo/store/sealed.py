"""Values encrypted at rest, over any engine; keys, which are paths, stay readable.

What is sealed: values below `secret/` always, and all others too when the policy is `everything`.
What a sealed value looks like stands in `piccolo.store.seals`.

Guarantees:

* What the policy demands is never written in plain, and never read when it is: whoever can write
  to the engine, but has no key, cannot put values of his own there (but old ones of the same path).
* A store whose key is missing is not opened, and no new key is made over sealed values.
* Opening brings the store in line: after `encrypt` was switched, or with values of older keys. That
  may end at any instant; the next opening goes on with it.

The mirror stands above, and knows only plain values.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from piccolo.core.errors import Compacted, Conflict, InvalidSpec, Unavailable
from piccolo.store.base import Change, Condition, Delete, Entry, Operation, Put, Snapshot, Store
from piccolo.store.rules import check, first_batch
from piccolo.store.seals import Sealer, Seals

UNSCRUBBED = ".unscrubbed"  # there while replaced values may still be in the engine's files
DOUBT_SECONDS = 60.0  # after which a write that was not answered cannot come through any more

log = logging.getLogger(__name__)


class SealedStore:
    """See `piccolo.store.base.Store`. Made by `open`."""

    def __init__(self, engine: Store, sealer: Sealer, *, everything: bool) -> None:
        self._engine = engine
        self._sealer = sealer
        self._seals = Seals(sealer, everything=everything)
        self._under_way: Counter[bytes] = Counter()  # commits, by the key that sealed them
        self._done = asyncio.Event()  # replaced whenever a commit is over
        self._doubt = float("-inf")  # when a commit last ended without an answer (loop time)
        self._rotating = asyncio.Lock()

    @classmethod
    async def open(cls, engine: Store, sealer: Sealer, *, everything: bool) -> SealedStore:
        """Over an engine that nobody else uses; closing it closes the engine.

        Raises `InvalidSpec` when the key to what is sealed is missing, or a value was tampered
        with; what the engine and `sealer` raise. The engine is left open then.
        """
        store = cls(engine, sealer, everything=everything)
        entries = (await engine.list("")).entries
        store._seals.refuse_strange(entries)
        if not sealer.ids:
            sealer.renew()
        for entry in entries:
            store._seals.opened(entry.key, entry.value)  # before anything is changed
        await store._bring_in_line()
        store._seals.strict = True
        return store

    # ---- the interface ----

    async def get(self, key: str) -> Entry | None:
        entry = await self._engine.get(key)
        return None if entry is None else self._seals.entry(entry)

    async def list(self, prefix: str) -> Snapshot:
        found = await self._engine.list(prefix)
        return Snapshot(tuple(map(self._seals.entry, found.entries)), found.revision)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        check(operations, conditions)
        id = self._sealer.ids[0]
        sealed = [self._seals.put(o, id) if isinstance(o, Put) else o for o in operations]
        self._under_way[id] += 1
        try:
            return await self._engine.commit(sealed, conditions)
        except (Conflict, InvalidSpec):
            raise
        except BaseException:
            self._doubt = asyncio.get_running_loop().time()
            raise
        finally:
            self._under_way[id] -= 1
            self._done.set()
            self._done = asyncio.Event()

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        async with aclosing(self._engine.watch(prefix, after)) as changes:
            async for change in changes:
                value = change.value
                if value is not None:
                    try:
                        value = self._seals.opened(change.key, value)
                    except InvalidSpec as error:  # maybe of a time before the store was in line
                        raise Compacted(f"{error}; list again, then watch") from error
                yield Change(change.key, value, change.revision)

    async def compact(self, revision: int) -> None:
        await self._engine.compact(revision)

    async def scrub(self) -> str:
        return await self._engine.scrub()

    async def close(self) -> None:
        await self._engine.close()

    # ---- all values ----

    async def stale(self) -> Sequence[str]:
        """The keys of values that are not stored as the policy and the newest key demand.

        Writes that are under way with an older key are waited for.
        """
        while any(n for id, n in self._under_way.items() if id != self._sealer.ids[0]):
            await self._done.wait()
        found = (await self._engine.list("")).entries
        return [e.key for e in found if not self._seals.is_in_line(e.key, e.value)]

    async def rotate(self, rewrite: Callable[[Sequence[str]], Awaitable[int]]) -> tuple[str, int]:
        """A new key: seals everything with it, then the older ones are forgotten.

        `rewrite` writes keys again, as they are, for the layer above (`MirroredStore.rewrite`) and
        returns how many. Returns the new key's id and how many values were sealed anew. Raises
        `Conflict` when that is under way already, `InvalidSpec` when the keys are not in our hands,
        `Unavailable`. Ended at any instant, it leaves all readable, and it can be begun again.
        """
        if self._rotating.locked():
            raise Conflict("the store's key is being rotated already: wait for the end of that")
        async with self._rotating:
            self._refuse_doubt()
            await self.stale()  # no new key for a store that is away
            await asyncio.to_thread(self._sealer.renew)
            count = 0
            while stale := await self.stale():
                if not (done := await rewrite(stale)):
                    raise Conflict(
                        f'"{stale[0]}" was written by somebody else, and is not known yet: all keys'
                        " are kept; rotate again"
                    )
                count += done
            self._refuse_doubt()
            await self._clean()
            return self._sealer.ids[0].hex(), count

    def _refuse_doubt(self) -> None:
        """A write that was not answered may still come through, sealed with an older key."""
        if (ago := asyncio.get_running_loop().time() - self._doubt) < DOUBT_SECONDS:
            raise Unavailable(
                f"the store did not answer a write {ago:.0f} s ago, which may still come through:"
                f" all keys are kept; rotate again in {DOUBT_SECONDS - ago:.0f} s"
            )

    async def _bring_in_line(self) -> None:
        """Rewrite what is not, before the store is used; then remove the traces of it."""
        count = 0
        while stale := await self.stale():
            if not count:
                await self.commit([Put(UNSCRUBBED, b"1")])
            entries = [entry for key in stale if (entry := await self.get(key))]
            while entries:
                batch = first_batch([Put(e.key, e.value) for e in entries])
                conditions = [Condition(e.key, e.revision) for e in entries[: len(batch)]]
                try:
                    await self.commit(batch, conditions)
                except Conflict as error:  # another program: what it wrote is found next
                    log.info("encrypting the store: %s", error)
                entries = entries[len(batch) :]
                count += len(batch)
        if count:
            log.warning(
                "%d values of the store were rewritten: %s is encrypted now, with key %s",
                count,
                "everything" if self._seals.everything else "what is secret",
                self._sealer.ids[0].hex(),
            )
        if len(self._sealer.ids) > 1 or await self._engine.get(UNSCRUBBED) is not None:
            try:
                await self._clean()
            except Unavailable as error:
                log.warning("%s; until the next start, replaced values stay readable", error)

    async def _clean(self) -> None:
        if advice := await self._engine.scrub():
            log.warning("%s", advice)
        await self._engine.commit([Delete(UNSCRUBBED)])
        if len(self._sealer.ids) > 1 and not await asyncio.to_thread(self._sealer.forget):
            log.warning(
                "nothing in the store needs any other key in %s than %s now: remove them",
                self._sealer.where,
                self._sealer.ids[0].hex(),
            )
