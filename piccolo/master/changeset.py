"""Commits that are larger than one transaction of the store, all or nothing all the same.

One transaction takes 128 operations and 1.3 MB (`store.rules`). What does not fit is written ahead:

1. All of it, in parts, under `changeset/ID/N`: nobody looks at them.
2. The `Marker` under `changeset`, in one transaction with the last part. From here on it is a
   promise, and everybody sees all of it at once: memory is switched in the same step.
3. The keys themselves, behind the scenes (`MirroredStore.promise`), as the store takes them.
4. Parts and marker are cleared away.

Ended before 2, it never was: the next start drops the parts. Ended later, the next start takes all
of it from the parts, before anybody reads, and goes on with 3.

What makes that safe:

* There is one changeset at a time, and nothing else writes to its keys until it is cleared away
  (`settle`). So rolling it forward, even again, never overwrites anything newer.
* This master is the only writer: it holds the store's lease. `StateManager` gives each key to one
  commit at a time, so conditions that are checked in memory just before the marker hold until it
  is there. As many as one transaction takes are checked by the store besides.
* A marker that was not answered may still come through. It does so on the condition that the
  marker before it is unchanged, and clearing away rewrites that: then it is fenced off, or, if
  it was there already, taken back. Whoever asked for it was told that nobody knows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b

from piccolo.core.backoff import pause
from piccolo.core.errors import InvalidSpec, PiccoloError, Unavailable
from piccolo.master import keys
from piccolo.master.keys import Marker
from piccolo.store import codec
from piccolo.store.base import MAX_OPERATIONS, Condition, Delete, Entry, Operation, Put
from piccolo.store.mirror import MirroredStore
from piccolo.store.rules import (
    MAX_COMMIT_BYTES,
    MAX_CONDITIONS,
    check_operation,
    conflict,
    key_bytes,
)

PART_BYTES = 900_000
MAX_PARTS = 64
SETTLE_SECONDS = 5.0  # how long a commit waits for the one before it to be in its place
_DELETES = MAX_OPERATIONS - 1  # beside the marker

log = logging.getLogger(__name__)


def fits(operations: Sequence[Operation], conditions: Sequence[Condition]) -> bool:
    """Whether one transaction takes it. Raises `InvalidSpec` for a value that none could take."""
    size = sum(map(check_operation, operations)) + sum(len(key_bytes(c.key)) for c in conditions)
    few = len(operations) <= MAX_OPERATIONS and len(conditions) <= MAX_CONDITIONS
    return few and size <= MAX_COMMIT_BYTES


@dataclass(frozen=True, slots=True)
class _Left:
    """A changeset that is not cleared away yet."""

    parts: tuple[str, ...]  # their keys
    keys: frozenset[str]
    promised: bool = False  # its marker is there


class Changesets:
    """`recover` first, before anything is read; keep `run` running."""

    def __init__(self, store: MirroredStore) -> None:
        self._store = store
        self._one = asyncio.Lock()  # at a time
        self._left: _Left | None = None
        self._work = asyncio.Event()

    async def recover(self) -> None:
        """Take in what a master before us promised, and drop what it only began."""
        found = {e.key: e for e in (await self._store.list(keys.CHANGESET)).entries}
        entry = found.pop(keys.CHANGESET, None)
        marker = codec.decode(Marker, entry.value, entry.key) if entry else Marker()
        values = _unpacked(marker, found) if marker.id else {}
        if found or marker.id:
            self._leave(_Left(tuple(found), frozenset(values), promised=bool(values)))
        if values:
            log.info("a commit of %d keys that was cut off is completed", len(values))
            self._store.promise(values)

    async def commit(self, operations: Sequence[Operation], conditions: Sequence[Condition]) -> int:
        """As `Store.commit`, without its limits. The caller keeps all others off these keys."""
        values = {o.key: o.value if isinstance(o, Put) else None for o in operations}
        parts, digest = _packed(values)
        async with self._one:
            await self._clear()
            marker = Marker(secrets.token_hex(8), len(parts), digest)
            names = [keys.changeset_part(marker.id, number) for number in range(len(parts))]
            self._leave(_Left(tuple(names), frozenset(values)))
            puts = [Put(name, part) for name, part in zip(names, parts, strict=True)]
            for put in puts[:-1]:
                await self._store.commit([put])
            before = await self._revision(keys.CHANGESET)
            for condition in conditions:
                if (found := await self._revision(condition.key)) != condition.revision:
                    raise conflict(condition, found)
            await self._store.commit(
                [puts[-1], Put(keys.CHANGESET, codec.encode(marker))],
                [Condition(keys.CHANGESET, before), *conditions[: MAX_CONDITIONS - 1]],
            )
            self._left = _Left(tuple(names), frozenset(values), promised=True)
            return self._store.promise(values)

    async def settle(self, wanted: Set[str]) -> None:
        """Before others write to keys of a changeset: have it in its place, and cleared away.

        Raises `Unavailable` when the store does not take it soon.
        """
        while self._left is not None and not self._left.keys.isdisjoint(wanted):
            async with self._one:
                await self._clear()

    async def run(self) -> None:
        """Clear away what is left, however long the store is away."""
        attempt = 0
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                async with self._one:
                    await self._clear()
                attempt = 0
            except PiccoloError as error:
                attempt += 1
                log.info("a large commit is not cleared away yet: %s", error)
                await asyncio.sleep(pause(attempt, random.random()))
                self._work.set()

    def _leave(self, left: _Left) -> None:
        self._left = left
        self._work.set()  # `run` gets its turn when we are through, or were cut off

    async def _clear(self) -> None:
        left = self._left
        if left is None:
            return
        if left.promised:
            try:
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._store.written(left.keys)
            except TimeoutError:
                raise Unavailable(
                    "the store has not taken the large commit before this one yet; try again"
                ) from None
        parts = left.parts
        while True:
            gone, parts = parts[:_DELETES], parts[_DELETES:]
            nothing = Put(keys.CHANGESET, codec.encode(Marker()))
            await self._store.commit([nothing, *map(Delete, gone)])
            if not parts:
                break
        self._left = None

    async def _revision(self, key: str) -> int:
        entry = await self._store.get(key)  # which the mirror has at hand: nothing comes between
        return entry.revision if entry else 0


def _packed(values: Mapping[str, bytes | None]) -> tuple[list[bytes], str]:
    """The parts, and the digest of all together."""
    texts = {key: None if value is None else value.decode() for key, value in values.items()}
    data = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > MAX_PARTS * PART_BYTES:
        raise InvalidSpec(
            f"{len(data) >> 20} MiB at once, at most {MAX_PARTS * PART_BYTES >> 20} are possible:"
            " change fewer objects at a time"
        )
    parts = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    return parts, _digest(data)


def _unpacked(marker: Marker, found: Mapping[str, Entry]) -> dict[str, bytes | None]:
    """What was promised; nothing if parts are missing, as when somebody else removed them."""
    names = [keys.changeset_part(marker.id, number) for number in range(marker.parts)]
    data = b"".join(found[name].value for name in names if name in found)
    if _digest(data) != marker.digest:
        log.error("a large commit is not complete in the store, and is dropped: %s", marker.id)
        return {}
    texts: dict[str, str | None] = json.loads(data)
    return {key: None if text is None else text.encode() for key, text in texts.items()}


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
