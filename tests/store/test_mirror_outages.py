"""The mirror's bad luck: engines that go away, lose answers or hang, and its own end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from piccolo.core.errors import Compacted, Conflict, StaleGeneration, Unavailable
from piccolo.store.base import Condition, Operation, Put
from piccolo.store.etcd import client as etcd_client
from piccolo.store.etcd import open_etcd
from piccolo.store.mirror import EPOCH_KEY, MirroredStore, health, write_behind
from piccolo.store.mirror import store as mirror_store
from piccolo.store.sqlite import open_sqlite
from tests.store.contract import contents, take, watching
from tests.store.etcd_server import EtcdServer
from tests.store.mirroring import Backing, mirroring, settled, until, value_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "GATHER_SECONDS", 0.02)


@pytest.fixture
async def backing(tmp_path: Path) -> Backing:
    return Backing(await open_sqlite(tmp_path))


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
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.02)
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
        await until(lambda: mirror._memory.get("a"))
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
    monkeypatch.setattr(mirror_store, "CLOSE_SECONDS", 0.2)
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
