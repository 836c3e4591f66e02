"""An audit trail on a real directory, with a store in memory, and what may happen to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from piccolo.config.settings import AuditSettings, Retention
from piccolo.core.security.audit import Record, parse
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.security.audit_reading import file_numbers, lines
from piccolo.master.security.audit_trail import AuditTrail
from piccolo.master.state_manager import StateManager
from piccolo.store.mirror import MirroredStore
from tests.master.memory_store import Disk
from tests.master.virtual_time import utc

SMALL = AuditSettings(max_file_size=4096, files=3)


@dataclass(slots=True)
class AuditWorld:
    directory: Path
    trail: AuditTrail
    state: StateManager
    log: EventLog
    disk: Disk

    def records(self) -> list[Record]:
        return records(self.directory)

    def actions(self) -> list[str]:
        return [r.entry.action for r in self.records()]

    def events(self) -> list[str]:
        return [e.reason for e in self.log.newest()]

    def do(self, *objects: str, allowed: bool = True, reason: str = "") -> None:
        for object_ in objects:
            self.trail.record(
                "admin:admin", "10.0.0.2:4000", "Do", object_, allowed=allowed, reason=reason
            )


def files(directory: Path) -> list[Path]:
    return [directory / f"audit-{number:06d}.jsonl" for number in file_numbers(directory)]


def records(directory: Path) -> list[Record]:
    return [parse(line)[0] for path in files(directory) for line in lines(path)]


@asynccontextmanager
async def auditing(
    directory: Path,
    disk: Disk | None = None,
    settings: AuditSettings = SMALL,
    *,
    killed: bool = False,
) -> AsyncIterator[AuditWorld]:
    """A master's audit trail until the end of the block; `killed`: without a word of farewell."""
    disk = disk or Disk()
    mirror = await MirroredStore.load(await disk.open())
    state = StateManager(mirror)
    await state.load()
    clock = Clock(asyncio.get_running_loop().time, utc)
    log = EventLog(state, clock, Retention())
    async with asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(mirror.run())]
        try:
            trail = AuditTrail.open(directory, clock, state, log, settings)
            parts.append(tasks.create_task(trail.run()))
            yield AuditWorld(directory, trail, state, log, disk)
            await asyncio.sleep(0)
        finally:
            for part in parts:
                part.cancel()
    if killed:
        trail._files.close()
    else:
        await trail.close()
    await mirror.close()
