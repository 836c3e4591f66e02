"""Making a master's state from a backup, where no master runs: all of it, or nothing.

First the whole backup is read and checked. Then all that it brings is made in `restoring/` in the
data directory, sealed with a store key of its own: also for etcd, as a file. From then on the
restore can be completed without the backup, by whoever comes next: this program, or the master.
What was there before is lost, or set aside, only then.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from piccolo.config.settings import MasterSettings
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from piccolo.master.backup import Backup
from piccolo.master.restoring import restoration
from piccolo.roles import marker
from piccolo.roles.engines import name_of, open_engine, open_file
from piccolo.roles.prepared import Plan, Prepared
from piccolo.security.keyring import KeyRing
from piccolo.store.base import MAX_OPERATIONS, Delete, Put, Store
from piccolo.store.rules import first_batch
from piccolo.store.seals import Seals

if TYPE_CHECKING:
    from piccolo.store.sqlite.lock import DirectoryLock

UNFINISHED = ".restoring"  # in etcd while its content is exchanged

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done."""

    store: str  # where it is now, for people
    aside: Path | None  # what was there before; None: nothing, or it was in etcd
    revoked: int  # join tokens
    resumed: bool  # it was cut off before, and is complete now


async def restore(settings: MasterSettings, backup: Backup, *, replace: bool) -> Restored:
    """Raises `Conflict` when a master runs there, or when there is something and it is not to be
    replaced; `InvalidSpec`, `Unavailable`: then nothing has changed, or `finish` completes it.
    """
    prepared = Prepared(Path(settings.data_dir))
    now = datetime.now(UTC)
    fresh = restoration(backup, now)
    about = backup.about
    name = f"{about.cluster_id} {about.made_at.isoformat()} {about.revision}"
    async with _target(settings) as etcd:
        if plan := await asyncio.to_thread(prepared.plan):
            aside = await _complete(settings, prepared, plan, etcd)
            if plan.backup == name:
                return Restored(plan.store, aside, fresh.revoked, resumed=True)
        if not replace:
            await _refuse_occupied(settings, prepared, etcd)
        plan = Plan(name, name_of(settings), prepared.aside(f"{now:%Y%m%dT%H%M%SZ}"))
        await _prepare(settings, prepared, plan, backup.pki, fresh.values)
        aside = await _complete(settings, prepared, plan, etcd)
    return Restored(plan.store, aside, fresh.revoked, resumed=False)


async def open_whole(settings: MasterSettings) -> Store:
    """The engine of a master that starts, after completing a restore that was cut off.

    Raises what the engine raises; `InvalidSpec` when the restore has to be completed elsewhere;
    `Conflict` when a master uses it, or the data directory belongs with another store.
    """
    prepared = Prepared(Path(settings.data_dir))
    if await asyncio.to_thread(prepared.exists):
        async with _target(settings) as etcd:
            if plan := await asyncio.to_thread(prepared.plan):
                await _complete(settings, prepared, plan, etcd)
                log.warning("a restore that was cut off was completed: %s", plan.store)
            else:  # it never was
                await asyncio.to_thread(prepared.discard)
    await asyncio.to_thread(marker.check, settings)
    engine = await _open_own(settings)
    try:
        if settings.store != "sqlite" and await engine.get(UNFINISHED) is not None:
            raise InvalidSpec(
                f"a restore into {name_of(settings)} was cut off, on another machine or with"
                " another --data-dir: run it again there, or here: piccolo restore FILE --replace"
            )
        await asyncio.to_thread(marker.keep, settings)
    except BaseException:
        await engine.close()
        raise
    return engine


async def _open_own(settings: MasterSettings) -> Store:
    try:
        return await open_engine(settings)
    except Conflict as error:
        own = "directory" if settings.store == "sqlite" else "prefix"
        raise Conflict(f"{error}, or give this one a {own} of its own") from error


@asynccontextmanager
async def _target(settings: MasterSettings) -> AsyncIterator[Store | None]:
    """The data directory, made where it is missing, and etcd, if that is to be the store: both kept
    from all masters. Raises `Conflict` when one runs there.
    """
    lock = await asyncio.to_thread(_lock, Path(settings.data_dir))
    try:
        etcd = None if settings.store == "sqlite" else await open_engine(settings)
        try:
            yield etcd
        finally:
            if etcd is not None:
                await etcd.close()
    finally:
        lock.release()


def _lock(directory: Path) -> DirectoryLock:
    from piccolo.store.sqlite.lock import DirectoryLock

    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return DirectoryLock(directory)
    except OSError as error:
        raise Unavailable(f"cannot use the directory {directory}: {error.strerror}") from error


async def _refuse_occupied(
    settings: MasterSettings, prepared: Prepared, etcd: Store | None
) -> None:
    there = [str(path) for path in prepared.occupied()]
    if etcd is not None and (await etcd.list("")).entries:
        there.append(f"the content of {name_of(settings)}")
    if there:
        kept = "is set aside" if etcd is None else "in files is set aside, in etcd is lost"
        raise Conflict(
            f"there is a master's state already: {', '.join(there)}. To put the backup in its"
            f" place, add --replace (what is there {kept}); or choose another --data-dir or --store"
        )


async def _prepare(
    settings: MasterSettings,
    prepared: Prepared,
    plan: Plan,
    pki: Mapping[str, str],
    values: Mapping[str, bytes],
) -> None:
    try:
        files = {name: text for name, text in pki.items() if text}
        await asyncio.to_thread(prepared.begin, files, marker.text_of(settings))
        ring = KeyRing.load(prepared.directory, os.environ)
        if not ring.ids:
            ring.renew()
        store = await open_file(prepared.directory)
        try:
            await _fill(store, _seals(settings, ring), ring, values)
        finally:
            await store.close()
        await asyncio.to_thread(prepared.ready, plan)
    except BaseException:
        prepared.discard()
        raise


async def _complete(
    settings: MasterSettings, prepared: Prepared, plan: Plan, etcd: Store | None
) -> Path | None:
    if plan.store != name_of(settings):
        raise InvalidSpec(
            f"a restore into {plan.store} was cut off here: complete it with that --store and"
            f" --data-dir, or give it up: rm -r {prepared.directory}"
        )
    if etcd is not None and not prepared.is_in_place():
        await _exchange(settings, prepared, etcd)
    return await asyncio.to_thread(prepared.swap, plan, with_store=etcd is None)


async def _exchange(settings: MasterSettings, prepared: Prepared, etcd: Store) -> None:
    """Put what is prepared in the place of all that is in etcd; again after it was cut off."""
    ring = KeyRing.load(prepared.directory, os.environ)
    seals = _seals(settings, ring)
    source = await open_file(prepared.directory)
    try:
        entries = (await source.list("")).entries
    finally:
        await source.close()
    await etcd.commit([Put(UNFINISHED, b"1")])
    old = [e.key for e in (await etcd.list("")).entries if e.key != UNFINISHED]
    for at in range(0, len(old), MAX_OPERATIONS):
        await etcd.commit([Delete(key) for key in old[at : at + MAX_OPERATIONS]])
    await _fill(etcd, seals, ring, {e.key: seals.opened(e.key, e.value) for e in entries})
    await etcd.commit([Delete(UNFINISHED)])


def _seals(settings: MasterSettings, ring: KeyRing) -> Seals:
    return Seals(ring, everything=settings.encrypt == "all")


async def _fill(store: Store, seals: Seals, ring: KeyRing, values: Mapping[str, bytes]) -> None:
    puts = [seals.put(Put(key, value), ring.ids[0]) for key, value in values.items()]
    while puts:
        batch = first_batch(puts)
        await store.commit(batch)
        puts = puts[len(batch) :]
