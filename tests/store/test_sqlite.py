from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piccolo.core.errors import Compacted, Conflict, InvalidSpec, Unavailable
from piccolo.store.base import Change, Condition, Delete, Put, Store
from piccolo.store.sqlite import engine as engine_module
from piccolo.store.sqlite import open_sqlite
from piccolo.store.sqlite.database import Database
from tests.store.contract import StoreContract, contents, nothing_comes, take, watching

ROOT = Path(__file__).resolve().parents[2]


class SqliteEngine:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def open(self) -> Store:
        return await open_sqlite(self.directory)


@pytest.fixture
def engine(tmp_path: Path) -> SqliteEngine:
    return SqliteEngine(tmp_path / "store")


class TestContract(StoreContract):
    pass


# ---- durability ----


def start_writer(directory: Path, first: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.writer", str(directory), str(first)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    chance = random.Random(1)
    acknowledged: set[int] = set()
    last_revision = 0
    for round in range(20):
        with start_writer(directory, round * 100_000) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 60)):
                acknowledged.add(int(await asyncio.to_thread(writer.stdout.readline)))
            writer.kill()
            acknowledged.update(int(line) for line in writer.stdout if line.endswith("\n"))
            assert writer.wait() == -signal.SIGKILL
        if round % 2 == 0:
            continue  # the next writer recovers what this one left
        store = await open_sqlite(directory, history=50)
        snapshot = await store.list("")
        await store.close()
        keys = contents(snapshot).keys()
        assert {f"a/{n}" for n in acknowledged} <= keys
        assert {k[1:] for k in keys if k[0] == "a"} == {k[1:] for k in keys if k[0] == "b"}
        assert snapshot.revision >= max(len(acknowledged), last_revision + 2)
        last_revision = snapshot.revision
    assert len(acknowledged) > 100


async def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path)
    assert await store._run(lambda db: db._one("PRAGMA synchronous")) == 2  # FULL
    assert (tmp_path / "store.db-wal").exists()
    await store.close()


async def test_commits_that_wait_together_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    original = Database.apply

    def apply(database: Database, transactions: list[Any]) -> Any:
        sizes.append(len(transactions))
        return original(database, transactions)

    monkeypatch.setattr(Database, "apply", apply)
    store = await open_sqlite(tmp_path)
    outcomes = await asyncio.gather(
        *(store.commit([Put(f"k{n}", b"")], [Condition(f"k{n % 90}", 0)]) for n in range(100)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 10
    assert len((await store.list("")).entries) == 90
    assert sum(sizes) == 100
    assert len(sizes) <= 3
    await store.close()


async def test_revisions_and_history_survive_a_restart(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path)
    first = await store.commit([Put("a", b"1"), Put("gone", b"")])
    second = await store.commit([Put("a", b"2")])
    last = await store.commit([Delete("gone")])
    await store.compact(first)
    await store.close()

    store = await open_sqlite(tmp_path)
    snapshot = await store.list("")
    assert snapshot.revision == last
    assert [(e.key, e.value, e.revision) for e in snapshot.entries] == [("a", b"2", second)]
    async with watching(store, "", first) as watch:
        assert await take(watch, 2) == [Change("a", b"2", second), Change("gone", None, last)]
    with pytest.raises(Compacted):
        await anext(store.watch("", 0))
    await store.compact(last)
    await store.close()

    store = await open_sqlite(tmp_path)
    assert (await store.list("")).revision == last  # though no history tells it any more
    assert await store.commit([Put("b", b"")]) == last + 1
    await store.close()


# ---- history ----


async def test_the_history_is_trimmed_by_itself(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path, history=20)
    await store.commit([Put("constant", b"")])
    for number in range(80):
        await store.commit([Put(f"k{number % 7}", b"%d" % number)])
        if number % 40 == 0:  # its old value is older than the history
            await store.commit([Put("rare", b"%d" % number)])
        await store.commit([Put("brief", b""), Delete("old")])
        await store.commit([Delete("brief")])
    snapshot = await store.list("")
    assert contents(snapshot).keys() == {"constant", "rare", *(f"k{n}" for n in range(7))}
    rows = await store._run(lambda db: db._one("SELECT count(*) FROM log"))
    assert rows <= 20 + 20 // 10 + len(snapshot.entries)
    await store.close()

    store = await open_sqlite(tmp_path, history=20)
    with pytest.raises(Compacted):
        await anext(store.watch("", snapshot.revision - 30))
    async with watching(store, "", snapshot.revision - 20) as watch:
        assert len(await take(watch, 20)) == 20
        await nothing_comes(watch)
    await store.close()


async def test_a_slow_watcher_costs_no_memory_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "TAIL_CHANGES", 10)
    store = await open_sqlite(tmp_path)
    async with watching(store, "", 0) as watch:
        await store.commit([Put("a", b"first")])
        assert [c.value for c in await take(watch, 1)] == [b"first"]
        for number in range(300):
            await store.commit([Put("a", b"%d" % number), Put("b", b"")])
        assert len(store._tail.since(store._tail.start)) <= 10
        told = [c.value for c in await take(watch, 600) if c.key == "a"]
        assert told == [b"%d" % n for n in range(300)]
        await store.commit([Put("a", b"last")])
        assert [c.value for c in await take(watch, 1)] == [b"last"]
    await store.close()


async def test_a_watcher_whose_place_is_forgotten_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "TAIL_CHANGES", 10)
    store = await open_sqlite(tmp_path, history=10)
    async with watching(store, "", 0) as watch:
        await store.commit([Put("a", b"")])
        await take(watch, 1)
        for _ in range(50):
            await store.commit([Put("a", b"")])
        with pytest.raises(Compacted):
            await take(watch, 1)
    await store.close()


# ---- one holder ----


async def test_another_process_is_refused_and_told_who_holds_the_store(tmp_path: Path) -> None:
    with start_writer(tmp_path, 0) as writer:
        assert writer.stdout is not None
        await asyncio.to_thread(writer.stdout.readline)
        with pytest.raises(Conflict, match=rf"in use by process {writer.pid}: stop"):
            await open_sqlite(tmp_path)
        writer.kill()
    store = await open_sqlite(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    await store.close()


async def test_a_refused_opener_leaves_nothing_behind(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path)
    gc.collect()  # what earlier tests left to it
    files, threads = os.listdir("/proc/self/fd"), threading.enumerate()
    for _ in range(5):
        with pytest.raises(Conflict):
            await open_sqlite(tmp_path)
    assert os.listdir("/proc/self/fd") == files
    assert threading.enumerate() == threads
    await store.close()


async def test_opening_can_be_cancelled(tmp_path: Path) -> None:
    for number in range(10):
        opening = asyncio.ensure_future(open_sqlite(tmp_path))
        await asyncio.sleep(number * 0.001)
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled():
            await opening.result().close()
    store = await open_sqlite(tmp_path)  # nobody holds it
    await store.close()


# ---- bad luck ----


async def test_a_write_that_came_through_though_it_failed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite(tmp_path)
    original = Database.apply

    def apply(database: Database, transactions: list[Any]) -> Any:
        original(database, transactions)
        raise Unavailable("the disk did not answer")

    async with watching(store, "", 0) as watch:
        first = await store.commit([Put("a", b"1")])
        with monkeypatch.context() as patch:
            patch.setattr(Database, "apply", apply)
            with pytest.raises(Unavailable):
                await store.commit([Put("a", b"2")])
        last = await store.commit([Put("a", b"3")])
        assert await take(watch, 3) == [
            Change("a", b"1", first),
            Change("a", b"2", first + 1),
            Change("a", b"3", last),
        ]
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.needs_root
async def test_a_full_disk_is_survived(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_000_000))
    store = await open_sqlite(small_disk / "store")
    async with watching(store, "", 0) as watch:
        written = 0

        async def fill() -> None:
            nonlocal written
            while True:
                await store.commit([Put(f"k{written}", os.urandom(20_000))])
                written += 1

        with pytest.raises(Unavailable, match=r"no space left on the disk of .*store\.db"):
            await fill()
        assert written > 3
        for _ in range(3):
            with pytest.raises(Unavailable, match="no space"):
                await store.commit([Put("large", bytes(100_000))])
        assert len((await store.list("k")).entries) == written

        ballast.unlink()
        await store.commit([Put("after", b"")])
        assert len(await take(watch, written)) == written
        assert [c.key for c in await take(watch, 1)] == ["after"]
    await store.close()

    store = await open_sqlite(small_disk / "store")
    assert len((await store.list("k")).entries) == written
    await store.close()


@pytest.mark.needs_root
async def test_a_disk_that_was_full_at_the_start(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(5_000_000))
    with pytest.raises(Unavailable, match="store"):
        await open_sqlite(small_disk / "store")
    ballast.unlink()
    store = await open_sqlite(small_disk / "store")
    await store.commit([Put("a", b"")])
    await store.close()


async def test_a_file_locked_by_another_program_is_waited_for_a_moment(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked by another program"):
        await store.commit([Put("a", b"1")])
    waiting = asyncio.ensure_future(store.commit([Put("a", b"2")]))
    await asyncio.sleep(0.2)
    other.execute("ROLLBACK")
    other.close()
    await waiting
    assert contents(await store.list("")) == {"a": b"2"}
    await store.close()


def scribble(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * length)


@pytest.mark.parametrize(("start", "length"), [(0, 100), (100, 4_000), (3 * 4096, 3 * 4096)])
async def test_a_damaged_file_is_named(tmp_path: Path, start: int, length: int) -> None:
    store = await open_sqlite(tmp_path)
    for number in range(100):
        await store.commit([Put(f"k{number}", bytes(500))])
    await store.close()
    path = tmp_path / "store.db"
    scribble(path, start, length)
    damaged = path.read_bytes()
    with pytest.raises(InvalidSpec, match=r"store\.db is damaged .*restore it from a backup"):
        await open_sqlite(tmp_path)
    assert path.read_bytes() == damaged  # the evidence, and what can still be saved of it
    path.unlink()
    store = await open_sqlite(tmp_path)
    await store.close()


async def test_a_file_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(InvalidSpec, match="another program"):
        await open_sqlite(tmp_path)
    assert path.read_bytes() == before


async def test_a_file_of_a_newer_piccolo_is_refused(tmp_path: Path) -> None:
    await (await open_sqlite(tmp_path)).close()
    newer = sqlite3.connect(tmp_path / "store.db")
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    with pytest.raises(InvalidSpec, match="newer PICCOLO"):
        await open_sqlite(tmp_path)


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"cannot use the directory .*file/store"):
        await open_sqlite(tmp_path / "file" / "store")


async def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store")
    await store.commit([Put("secret", b"")])
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    files = list((tmp_path / "store").iterdir())
    assert {file.name for file in files} >= {"lock", "store.db", "store.db-wal"}
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    await store.close()
