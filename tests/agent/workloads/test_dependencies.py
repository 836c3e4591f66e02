"""What dependencies are remembered of, across sessions and across boots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from piccolo.agent.workloads.dependencies import Dependencies
from piccolo.core.workloads.instances import DependencyState, Instance, InstanceStatus, Phase
from piccolo.security.files import private_dir
from tests.agent.workloads.specs import instance, needs, workload
from tests.master.virtual_time import virtual_time

WEB = instance(workload("web", depends_on=needs("db", "cache")))
DB, CACHE = (DependencyState(name, running=True) for name in ("db", "cache"))
NO_DB = DependencyState("db")


@asynccontextmanager
async def booted(
    directory: Path, statuses: dict[str, InstanceStatus] | None = None
) -> AsyncIterator[Dependencies]:
    found = Dependencies(private_dir(directory / "workloads"), statuses or {})
    found.load()
    running = asyncio.create_task(found.run())
    try:
        yield found
        await asyncio.sleep(1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def written(directory: Path) -> float:
    return (directory / "workloads" / "held-once").stat().st_mtime_ns


@virtual_time
async def test_the_masters_word_counts_while_it_is_there(tmp_path: Path) -> None:
    async with booted(tmp_path) as found:
        assert found.blocked(WEB) == "waits for db to run, or for the master to say so"
        assert found.told([DB], reset=False) == {"db"}
        assert found.blocked(WEB) == "waits for cache to run"
        assert found.told([CACHE], reset=False) == {"cache"}
        assert found.blocked(WEB) == ""
        assert found.told([DB, NO_DB], reset=False) == {"db"}
        assert found.blocked(WEB) == "waits for db to run"
        assert found.told([DB], reset=True) == {"db", "cache"}
        assert found.blocked(WEB) == "waits for cache to run"


@virtual_time
async def test_what_held_once_holds_without_the_master_for_the_same_containers(
    tmp_path: Path,
) -> None:
    async with booted(tmp_path) as found:
        found.told([DB, CACHE], reset=True)
        assert found.blocked(WEB) == ""
        found.alone()
        assert found.blocked(WEB) == ""
    async with booted(tmp_path) as found:
        assert found.blocked(WEB) == "", "also after a cold boot"
        other = Instance(WEB.workload, WEB.index, 2, "another hash")
        assert found.blocked(other), "not for what never ran here"
        assert found.blocked(Instance(WEB.workload, 1, 1, WEB.hash))
        found.told([NO_DB], reset=True)
        assert found.blocked(WEB) == "waits for db to run", "the master knows better"
        found.alone()
        assert found.blocked(WEB) == ""


@virtual_time
async def test_what_is_here_is_judged_by_what_is_seen_here(tmp_path: Path) -> None:
    statuses = {"db.0": InstanceStatus("db", 0, 1, Phase.RUNNING)}
    async with booted(tmp_path, statuses) as found:
        found.told([DB, CACHE], reset=True)
        assert found.blocked(WEB) == ""
        found.alone()
        assert found.blocked(WEB) == ""
        statuses["db.0"] = InstanceStatus("db", 0, 1, Phase.CRASH_LOOP)
        assert found.blocked(WEB) == "waits for db to run on this node; the master is away"


@virtual_time
async def test_the_disk_is_written_only_for_news(tmp_path: Path) -> None:
    async with booted(tmp_path) as found:
        await asyncio.sleep(1)
        assert not (tmp_path / "workloads" / "held-once").exists()
        found.told([DB, CACHE], reset=True)
        found.blocked(WEB)
        await asyncio.sleep(1)
        first = written(tmp_path)
        for _ in range(5):
            found.told([DB, NO_DB, DB], reset=False)
            found.blocked(WEB)
            found.keep({"web.0"})
            await asyncio.sleep(1)
        assert written(tmp_path) == first
        found.keep({"db.0"})
    async with booted(tmp_path) as found:
        assert found.blocked(WEB), "it was forgotten"


@virtual_time
async def test_a_disk_that_does_not_take_it_is_tried_again(tmp_path: Path) -> None:
    async with booted(tmp_path) as found:
        path = tmp_path / "workloads" / "held-once"
        path.mkdir()
        found.told([DB, CACHE], reset=True)
        assert found.blocked(WEB) == ""
        await asyncio.sleep(1)
        path.rmdir()
        await asyncio.sleep(70)
        assert path.is_file()


@virtual_time
async def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    path = private_dir(tmp_path / "workloads") / "held-once"
    for text in ("", "[]", "{", '{"web.0": 3}', '{"web.0": {"h": "x"}}'):
        path.write_text(text)
        path.chmod(0o600)
        async with booted(tmp_path) as found:
            assert found.blocked(WEB)
