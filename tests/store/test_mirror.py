from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from piccolo.core.errors import Compacted, Conflict, InvalidSpec
from piccolo.store.base import MAX_VALUE_BYTES, Change, Condition, Delete, Entry, Put, Store
from piccolo.store.mirror import EPOCH_KEY, MirroredStore, memory, write_behind
from piccolo.store.sqlite import open_sqlite
from tests.store.contract import StoreContract, contents, nothing_comes, take, watching
from tests.store.mirroring import Backing, mirroring, settled, until, value_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "GATHER_SECONDS", 0.02)


class MirrorEngine:
    """A mirror over SQLite, with its `run` running."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.tasks: list[asyncio.Task[None]] = []

    async def open(self) -> Store:
        mirror = await MirroredStore.load(await open_sqlite(self._directory))
        self.tasks.append(asyncio.create_task(mirror.run()))
        await asyncio.sleep(0)
        return mirror


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[MirrorEngine]:
    engine = MirrorEngine(tmp_path)
    yield engine
    async with asyncio.timeout(5):
        await asyncio.gather(*engine.tasks)  # closing the mirror ended it


class TestContract(StoreContract):
    pass


@pytest.fixture
async def backing(tmp_path: Path) -> Backing:
    return Backing(await open_sqlite(tmp_path))


# ---- observations ----


async def test_an_observation_is_visible_at_once_and_written_soon(backing: Backing) -> None:
    async with mirroring(backing) as mirror, watching(mirror, "", mirror.revision) as watch:
        revision = mirror.observe("a", b"1")
        assert await mirror.get("a") == Entry("a", b"1", revision)
        assert await take(watch, 1) == [Change("a", b"1", revision)]
        assert await backing.store.get("a") is None
        await settled(mirror)
        assert await value_of(backing.store, "a") == b"1"
        gone = mirror.observe("a", None)
        assert gone > revision
        assert await mirror.get("a") is None
        assert await take(watch, 1) == [Change("a", None, gone)]
        await settled(mirror)
        assert await backing.store.get("a") is None
        await nothing_comes(watch)  # the engine's echo is no change


async def test_observations_are_written_together_and_only_the_last_of_a_key(
    backing: Backing,
) -> None:
    async with mirroring(backing) as mirror:
        backing.writes.clear()
        for number in range(50):
            for key in range(20):
                mirror.observe(f"k{key}", b"%d" % number)
        await settled(mirror)
        assert len(backing.writes) == 1
        assert backing.written() == {f"k{n}": b"49" for n in range(20)}


async def test_the_same_observation_a_thousand_times_is_written_once(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        first = mirror.observe("a", b"1")
        await settled(mirror)
        backing.writes.clear()
        async with watching(mirror, "", first) as watch:
            for number in range(1_000):
                assert mirror.observe("a", b"1") == first
                if number % 100 == 0:
                    await asyncio.sleep(0.01)
            await settled(mirror)
            await nothing_comes(watch)
        assert backing.writes == []


async def test_what_is_not_durable_never_reaches_the_engine(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        backing.writes.clear()
        for number in range(100):
            mirror.observe("live", b"%d" % number, durable=False)
        await asyncio.sleep(0.1)
        mirror.observe("live", None, durable=False)
        mirror.observe("live", b"last", durable=False)
        await asyncio.sleep(0.1)
        assert contents(await mirror.list("")) == {"live": b"last"}
        assert backing.writes == []
    assert backing.writes == []


async def test_more_than_one_transaction_can_take(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        for number in range(500):
            mirror.observe(f"n{number}", b"x")
        for number in range(3):
            mirror.observe(f"large{number}", bytes(MAX_VALUE_BYTES))
        await settled(mirror)
        assert contents(await mirror.list("")) == {
            e.key: e.value for e in (await backing.store.list("")).entries if e.key != EPOCH_KEY
        }


@pytest.mark.parametrize("key", ["", "x" * 513, EPOCH_KEY])
async def test_a_bad_observation_is_refused(backing: Backing, key: str) -> None:
    async with mirroring(backing) as mirror:
        with pytest.raises(InvalidSpec):
            mirror.observe(key, b"")
        with pytest.raises(InvalidSpec):
            await mirror.commit([Put(key, b"")])
        with pytest.raises(InvalidSpec, match="bytes"):
            mirror.observe("a", bytes(MAX_VALUE_BYTES + 1))
        mirror.observe("a", b"fine")
        await settled(mirror)


async def test_what_is_promised_is_seen_as_one_transaction_and_written_soon(tmp_path: Path) -> None:
    engine = MirrorEngine(tmp_path)
    store = await engine.open()
    assert isinstance(store, MirroredStore)
    start = await store.commit([Put("a", b"1"), Put("c", b"1")])
    values = {"a": b"1", "b": b"2", "c": None}
    async with watching(store, "", start) as changes:
        revision = store.promise(values)
        assert await take(changes, 3) == [Change(k, v, revision) for k, v in values.items()]
        async with asyncio.timeout(5):
            await store.written({"a", "b", "c"})
        found = contents(await store.backing.list(""))
        assert (found["a"], found["b"], found.get("c")) == (b"1", b"2", None)
        await nothing_comes(changes)
    await store.close()
    await asyncio.gather(*engine.tasks)


# ---- commits and observations ----


async def test_a_commit_is_visible_only_when_it_is_durable(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        start = mirror.revision
        async with watching(mirror, "", start) as watch:
            backing.gate.clear()
            commit = asyncio.ensure_future(mirror.commit([Put("a", b"1"), Put("b", b"2")]))
            await asyncio.sleep(0.05)
            assert await mirror.get("a") is None
            assert mirror.revision == start
            backing.gate.set()
            revision = await commit
            assert await take(watch, 2) == [
                Change("a", b"1", revision),
                Change("b", b"2", revision),
            ]
            await nothing_comes(watch)


async def test_a_commit_supersedes_what_was_observed_before(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        mirror.observe("a", b"observed")
        await mirror.commit([Put("a", b"committed")])
        await asyncio.sleep(0.1)
        assert await value_of(mirror, "a") == b"committed"
        assert await value_of(backing.store, "a") == b"committed"
        assert {"a": b"observed"} not in [
            {op.key: getattr(op, "value", None) for op in operations}
            for operations in backing.writes
        ]


async def test_a_commit_waits_for_an_observation_that_is_being_written(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        backing.writes.clear()
        backing.gate.clear()
        mirror.observe("a", b"observed")
        await until(lambda: backing.writes)
        commit = asyncio.ensure_future(mirror.commit([Put("a", b"committed")]))
        other = asyncio.ensure_future(mirror.commit([Put("b", b"other")]))
        await asyncio.sleep(0.05)
        assert [[op.key for op in operations] for operations in backing.writes] == [["a"], ["b"]]
        backing.gate.set()
        await asyncio.gather(commit, other)
        assert await value_of(backing.store, "a") == b"committed"
        assert await value_of(mirror, "a") == b"committed"


async def test_an_observation_waits_for_a_commit_that_is_being_written(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        backing.writes.clear()
        backing.gate.clear()
        commit = asyncio.ensure_future(mirror.commit([Put("a", b"committed")]))
        await until(lambda: backing.writes)
        mirror.observe("a", b"during")
        mirror.observe("b", b"other")
        await asyncio.sleep(0.1)
        assert [[op.key for op in operations] for operations in backing.writes] == [["a"], ["b"]]
        backing.gate.set()
        await commit
        assert await value_of(mirror, "a") == b"committed"
        mirror.observe("a", b"after")
        await settled(mirror)
        assert await value_of(backing.store, "a") == b"after"


async def test_an_observation_that_was_replaced_while_it_was_written_is_written_again(
    backing: Backing,
) -> None:
    async with mirroring(backing) as mirror:
        backing.writes.clear()
        backing.gate.clear()
        mirror.observe("a", b"1")
        await until(lambda: backing.writes)
        mirror.observe("a", b"2")
        backing.gate.set()
        await settled(mirror)
        assert await value_of(backing.store, "a") == b"2"


async def test_an_observation_is_written_after_a_commit_that_left_it(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        backing.gate.clear()
        commit = asyncio.ensure_future(mirror.commit([Put("b", b"")], [Condition("a", 0)]))
        await asyncio.sleep(0)
        mirror.observe("a", b"1")
        await asyncio.sleep(0.1)  # the flusher found it busy
        backing.gate.set()
        await commit
        await settled(mirror)
        assert await value_of(backing.store, "a") == b"1"


async def test_an_observation_counts_for_the_conditions_of_a_commit(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        old = await mirror.commit([Put("a", b"1")])
        revision = mirror.observe("a", b"2")
        with pytest.raises(Conflict, match='"a"'):
            await mirror.commit([Put("a", b"3")], [Condition("a", old)])
        await mirror.commit([Put("a", b"4")], [Condition("a", revision)])  # written or not
        live = mirror.observe("live", b"1", durable=False)
        await mirror.commit([Put("live", b"2")], [Condition("live", live)])
        assert contents(await backing.store.list("")).items() >= {"a": b"4", "live": b"2"}.items()


async def test_writers_in_disorder_leave_memory_and_engine_alike(backing: Backing) -> None:
    async with mirroring(backing) as mirror:

        async def commit(number: int) -> None:
            for step in range(30):
                entry = await mirror.get("a")
                conditions = [Condition("a", entry.revision if entry else 0)] if step % 2 else []
                try:
                    await mirror.commit([Put("a", b"c%d-%d" % (number, step))], conditions)
                except Conflict:
                    await asyncio.sleep(0)

        async def observe(number: int) -> None:
            for step in range(60):
                mirror.observe("a", b"o%d-%d" % (number, step) if step % 5 else None)
                await asyncio.sleep(0.001)

        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(commit(number))
                tasks.create_task(observe(number))
        await settled(mirror)
        assert await value_of(mirror, "a") == await value_of(backing.store, "a")


# ---- changes by others ----


async def test_changes_by_others_are_followed(backing: Backing) -> None:
    async with mirroring(backing) as mirror, watching(mirror, "", mirror.revision) as watch:
        await backing.store.commit([Put("theirs", b"1")])
        told = await take(watch, 1)
        assert [(c.key, c.value) for c in told] == [("theirs", b"1")]
        assert await value_of(mirror, "theirs") == b"1"
        await backing.store.commit([Delete("theirs")])
        assert [(c.key, c.value) for c in await take(watch, 1)] == [("theirs", None)]
        entry = await mirror.get("theirs")
        assert entry is None


async def test_a_pending_observation_is_newer_than_a_change_by_others(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        await mirror.commit([Put("a", b"0")])
        backing.away = True
        mirror.observe("a", b"observed")
        await backing.store.commit([Put("a", b"theirs")])
        await asyncio.sleep(0.1)
        assert await value_of(mirror, "a") == b"observed"
        backing.away = False
        await settled(mirror)
        assert await value_of(backing.store, "a") == b"observed"
        assert await value_of(mirror, "a") == b"observed"


async def test_a_mirror_that_was_left_behind_compares_everything(backing: Backing) -> None:
    mirror = await MirroredStore.load(backing)
    await mirror.commit([Put("same", b""), Put("changed", b"1"), Put("gone", b"")])
    mirror.observe("live", b"", durable=False)
    await backing.store.commit([Put("changed", b"2"), Put("new", b""), Delete("gone")])
    await backing.store.compact((await backing.store.list("")).revision)
    task = asyncio.create_task(mirror.run())  # follows from where it was loaded: compacted
    expected = {"same": b"", "changed": b"2", "new": b"", "live": b""}
    await until(lambda: contents(mirror._memory.list("")) == expected)
    assert contents(await mirror.list("")) == expected
    await backing.store.commit([Put("later", b"")])
    await until(lambda: mirror._memory.get("later"))
    await mirror.close()
    await task


async def test_a_watcher_that_falls_behind_is_told(
    backing: Backing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LOG_CHANGES", 100)
    async with mirroring(backing) as mirror, watching(mirror, "", mirror.revision) as watch:
        mirror.observe("a", b"", durable=False)
        await take(watch, 1)
        for number in range(99):
            mirror.observe("a", b"%d" % number, durable=False)
        assert len(await take(watch, 99)) == 99
        for number in range(102):
            mirror.observe("a", b"%d" % number, durable=False)
        with pytest.raises(Compacted):
            await anext(watch)


async def test_what_is_remembered_of_deleted_keys_is_forgotten(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        for number in range(50):
            await mirror.commit([Put(f"k{number}", b"")])
            await mirror.commit([Delete(f"k{number}"), Delete(f"never{number}")])
            mirror.observe(f"o{number}", b"")
            mirror.observe(f"o{number}", None)
        await settled(mirror)
        await mirror.commit([Put("last", b"")])
        await until(lambda: len(mirror._writer.known._facts) <= 3)
