from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from piccolo.core.errors import Compacted, Conflict, InvalidSpec, StaleGeneration, Unavailable
from piccolo.store import mirror as mirror_module
from piccolo.store.base import (
    MAX_VALUE_BYTES,
    Change,
    Condition,
    Delete,
    Entry,
    Operation,
    Put,
    Snapshot,
    Store,
)
from piccolo.store.etcd import client as etcd_client
from piccolo.store.etcd import open_etcd
from piccolo.store.mirror import EPOCH_KEY, MirroredStore
from piccolo.store.sqlite import open_sqlite
from tests.store.contract import StoreContract, contents, nothing_comes, take, watching
from tests.store.etcd_server import EtcdServer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "GATHER_SECONDS", 0.02)


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


# ---- a mirror whose engine the test has in its hands ----


class Backing:
    """A real engine that can be delayed, cut off, and made to lose its answers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.writes: list[Sequence[Operation]] = []
        self.away = False  # nothing gets through
        self.deaf = False  # a commit gets through, its answer does not
        self.gate = asyncio.Event()  # commits wait for it
        self.gate.set()
        self.news = asyncio.Event()  # watches wait for it
        self.news.set()
        self.refusal: Exception | None = None

    async def get(self, key: str) -> Entry | None:
        self._check()
        return await self.store.get(key)

    async def list(self, prefix: str) -> Snapshot:
        self._check()
        return await self.store.list(prefix)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        self._check()
        self.writes.append(operations)
        await self.gate.wait()
        revision = await self.store.commit(operations, conditions)
        if self.deaf:
            raise Unavailable("no answer came")
        return revision

    def _check(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        if self.away:
            raise Unavailable("the engine is away")

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        async with watching(self.store, prefix, after) as changes:
            async for change in changes:
                await self.news.wait()
                yield change

    async def compact(self, revision: int) -> None:
        await self.store.compact(revision)

    async def scrub(self) -> str:
        return await self.store.scrub()

    async def close(self) -> None:
        await self.store.close()

    def written(self) -> dict[str, bytes | None]:
        """The last value written of each key; None: deleted."""
        found: dict[str, bytes | None] = {}
        for operations in self.writes:
            for operation in operations:
                found[operation.key] = operation.value if isinstance(operation, Put) else None
        found.pop(EPOCH_KEY, None)
        return found


@pytest.fixture
async def backing(tmp_path: Path) -> Backing:
    return Backing(await open_sqlite(tmp_path))


@asynccontextmanager
async def mirroring(backing: Store, **options: Any) -> AsyncIterator[MirroredStore]:
    """A mirror while it runs."""
    mirror = await MirroredStore.load(backing, **options)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(mirror.run())
        await asyncio.sleep(0)
        try:
            yield mirror
        finally:
            await mirror.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def value_of(store: Store, key: str) -> bytes | None:
    entry = await store.get(key)
    return entry.value if entry else None


async def settled(mirror: MirroredStore) -> None:
    await until(lambda: not mirror._pending)


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
    await until(lambda: {e.key: e.value for e in mirror._entries.values()} == expected)
    assert contents(await mirror.list("")) == expected
    await backing.store.commit([Put("later", b"")])
    await until(lambda: "later" in mirror._entries)
    await mirror.close()
    await task


async def test_a_watcher_that_falls_behind_is_told(
    backing: Backing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "LOG_CHANGES", 100)
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
        await until(lambda: len(mirror._known._facts) <= 3)


# ---- bad luck ----


async def test_while_the_engine_is_away_nothing_is_lost_and_nothing_is_promised(
    backing: Backing,
) -> None:
    reasons: list[str | None] = []
    async with mirroring(backing, on_degraded=reasons.append) as mirror:
        await mirror.commit([Put("a", b"1")])
        assert not mirror.degraded
        backing.away = True
        with pytest.raises(Unavailable, match="is away"):
            await mirror.commit([Put("a", b"2")])
        assert reasons == ["the engine is away"]
        mirror.observe("b", b"observed")
        await asyncio.sleep(0.2)
        assert contents(await mirror.list("")) == {"a": b"1", "b": b"observed"}
        backing.away = False
        await settled(mirror)
        await until(lambda: mirror.degraded is None)
        assert await value_of(backing.store, "b") == b"observed"
        assert await value_of(backing.store, "a") == b"1"
    assert reasons == ["the engine is away", None]


async def test_it_finds_out_by_itself_that_the_engine_is_back(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        backing.away = True
        with pytest.raises(Unavailable):
            await mirror.commit([Put("a", b"1")])
        backing.away = False
        await until(lambda: mirror.degraded is None)  # though nothing is to be written
        assert contents(await backing.store.list("")).keys() == {EPOCH_KEY}


async def test_it_finds_out_by_itself_that_the_engine_went_away(
    backing: Backing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "PROBE_SECONDS", 0.02)
    async with mirroring(backing) as mirror:
        backing.away = True
        await until(lambda: mirror.degraded == "the engine is away")
        backing.away = False
        await until(lambda: mirror.degraded is None)


async def test_a_commit_whose_answer_was_lost_becomes_visible_when_it_is_found(
    backing: Backing,
) -> None:
    async with mirroring(backing) as mirror:
        backing.deaf = True
        with pytest.raises(Unavailable):
            await mirror.commit([Put("a", b"1")])
        backing.deaf = False
        await until(lambda: "a" in mirror._entries)
        entry = await mirror.get("a")
        assert entry is not None
        await mirror.commit([Put("a", b"2")], [Condition("a", entry.revision)])


async def test_an_observation_after_a_lost_answer_wins(backing: Backing) -> None:
    async with mirroring(backing) as mirror:
        await mirror.commit([Put("a", b"old")])
        backing.deaf = True
        backing.news.clear()
        with pytest.raises(Unavailable):
            await mirror.commit([Put("a", b"maybe")])
        mirror.observe("a", b"old")  # what the engine would have, had the commit failed
        backing.deaf = False
        await settled(mirror)
        assert await value_of(backing.store, "a") == b"old"
        backing.news.set()
        await asyncio.sleep(0.1)
        assert await value_of(mirror, "a") == b"old"


async def test_a_late_write_of_an_observation_cannot_undo_a_commit(backing: Backing) -> None:
    """The write of an observation hangs on its way, is given up, and arrives after a commit."""
    async with mirroring(backing) as mirror:
        await mirror.commit([Put("a", b"0")])
        late: list[tuple[Sequence[Operation], Sequence[Condition]]] = []
        original = backing.commit

        async def lose(operations: Sequence[Operation], conditions: Sequence[Condition]) -> int:
            late.append((operations, conditions))
            raise Unavailable("no answer came")

        backing.commit = lose  # type: ignore[method-assign, assignment]
        mirror.observe("a", b"observed")
        await until(lambda: late)
        backing.commit = original  # type: ignore[method-assign]
        await mirror.commit([Put("a", b"committed")])
        with pytest.raises(Conflict):
            await backing.store.commit(*late[0])
        await asyncio.sleep(0.1)
        assert await value_of(mirror, "a") == b"committed"
        assert await value_of(backing.store, "a") == b"committed"


async def test_closing_writes_what_is_pending(backing: Backing, tmp_path: Path) -> None:
    async with mirroring(backing) as mirror:
        mirror.observe("a", b"1")
    store = await open_sqlite(tmp_path)
    assert contents(await store.list("")) == {"a": b"1", EPOCH_KEY: b"1"}
    await store.close()


async def test_closing_does_not_wait_for_ever(
    backing: Backing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "CLOSE_SECONDS", 0.2)
    async with asyncio.timeout(2):
        async with mirroring(backing) as mirror:
            backing.gate.clear()
            mirror.observe("a", b"1")
    with pytest.raises(Unavailable, match="closed"):
        await mirror.commit([Put("a", b"2")])


async def test_a_replaced_master_ends(backing: Backing) -> None:
    mirror = await MirroredStore.load(backing)
    running = asyncio.create_task(mirror.run())
    mirror.observe("a", b"1")
    backing.refusal = StaleGeneration("replaced")
    with pytest.raises(StaleGeneration, match="replaced"):
        await asyncio.wait_for(running, 5)
    await backing.store.close()


async def test_revisions_never_go_back_even_those_of_memory_only(
    backing: Backing, tmp_path: Path
) -> None:
    async with mirroring(backing) as mirror:
        await mirror.commit([Put("a", b"1")])
        for number in range(1_000):
            last = mirror.observe("live", b"%d" % number, durable=False)
    async with mirroring(await open_sqlite(tmp_path)) as mirror:
        assert mirror.revision > last
        assert await mirror.commit([Put("b", b"")]) > last
        with pytest.raises(Compacted):
            await anext(mirror.watch("", last))


async def test_cancelling_run_loses_nothing(backing: Backing) -> None:
    mirror = await MirroredStore.load(backing)
    for number in range(20):
        running = asyncio.create_task(mirror.run())
        mirror.observe("a", b"%d" % number)
        await asyncio.sleep(0.02 + number * 0.0005)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
    running = asyncio.create_task(mirror.run())
    await settled(mirror)
    assert await value_of(backing.store, "a") == b"19"
    await mirror.close()
    await running


# ---- over etcd ----


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path / "m0")
    server.start()
    yield server
    server.kill()


@pytest.mark.needs_etcd
async def test_etcd_away_for_a_while(server: EtcdServer) -> None:
    url = f"etcd://{server.address}"
    async with mirroring(await open_etcd(url, ttl=1)) as mirror:
        await mirror.commit([Put("a", b"1")])
        server.kill()
        for number in range(5):
            mirror.observe("seen", b"%d" % number)
            with pytest.raises(Unavailable):
                await mirror.commit([Put("a", b"2")])
            await asyncio.sleep(0.3)  # all in all longer than the lease lasts
        assert mirror.degraded is not None
        assert contents(await mirror.list("")) == {"a": b"1", "seen": b"4"}
        server.start()
        await settled(mirror)
        await until(lambda: mirror.degraded is None)
        assert server.ctl("get", "/piccolo/data/seen", "--print-value-only") == "4\n"
        await mirror.commit([Put("a", b"3")])
        async with watching(mirror, "", mirror.revision) as watch:
            server.ctl("put", "/piccolo/data/theirs", "x")
            assert [(c.key, c.value) for c in await take(watch, 1)] == [("theirs", b"x")]


@pytest.mark.needs_etcd
async def test_etcd_frozen_for_a_while(server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_client, "ANSWER_SECONDS", 0.5)
    async with mirroring(await open_etcd(f"etcd://{server.address}", ttl=1)) as mirror:
        await mirror.commit([Put("a", b"1")])
        server.freeze()
        mirror.observe("seen", b"1")
        with pytest.raises(Unavailable):
            await mirror.commit([Put("a", b"2")])
        mirror.observe("seen", b"2")
        await asyncio.sleep(0.5)
        server.thaw()
        await settled(mirror)
        await until(lambda: mirror.degraded is None)
        await asyncio.sleep(0.2)
        assert server.ctl("get", "/piccolo/data/seen", "--print-value-only") == "2\n"
        stored = server.ctl("get", "/piccolo/data/a", "--print-value-only").strip().encode()
        assert await value_of(mirror, "a") == stored


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
