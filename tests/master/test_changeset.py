"""Commits that are too large for one transaction: all or nothing, whenever the master is killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from piccolo.core.model import Node
from piccolo.master import changeset, keys
from piccolo.master.state_manager import StateManager
from piccolo.store.base import Condition, Operation, Store
from piccolo.store.etcd import EtcdUrl, open_etcd
from piccolo.store.mirror import MirroredStore
from piccolo.store.sqlite import open_sqlite
from tests.master.memory_store import Disk, MemoryStore
from tests.master.virtual_time import virtual_time
from tests.store.etcd_server import EtcdServer

MANY = 300  # nodes, of which one transaction takes 128


def nodes(word: str, count: int = MANY, size: int = 10) -> Mapping[str, Node]:
    found = [Node(f"{n:03}", f"n{n}", labels={"word": word * size}) for n in range(count)]
    return {keys.node(node.id): node for node in found}


def words(state: StateManager) -> set[str]:
    """What the nodes say, and "none" for those that are not there."""
    said = {str(node.labels["word"][0]) for node in state.nodes()}
    return said | ({"none"} if len(state.nodes()) < MANY else set())


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[StateManager]:
    mirror = await MirroredStore.load(store)
    state = StateManager(mirror)
    await state.load()
    async with asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(mirror.run()), tasks.create_task(state.run())]
        await asyncio.sleep(0)
        yield state
        for part in parts:
            part.cancel()
    await mirror.close()


def left_over(disk: Disk) -> list[str]:
    return [key for key in disk.entries if key.startswith("changeset/")]


@dataclass
class Film(MemoryStore):
    """Remembers what was on the disk after each commit."""

    disk: Disk = field(default_factory=Disk)
    frames: list[Disk] = field(default_factory=list)

    def __post_init__(self) -> None:
        MemoryStore.__init__(self, self.disk)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        revision = await super().commit(operations, conditions)
        frame = Disk()
        frame.entries, frame.revision = dict(self.disk.entries), self.disk.revision
        self.frames.append(frame)
        return revision


@virtual_time
async def test_a_master_killed_between_any_two_commits_left_all_or_nothing() -> None:
    film = Film()
    async with opened(film) as state:
        await state.commit(nodes("a"))
        await asyncio.sleep(5)
        begun = len(film.frames)
        # 1.5 MB: parts by themselves before the one with the marker.
        await state.commit({**nodes("b", size=5000), keys.node("299"): None})
        promised = len(film.frames)
        await asyncio.sleep(5)
    assert promised - begun == 2
    assert len(film.frames) - promised > 3  # 300 keys, then the clearing away
    assert not left_over(film.disk)
    for number, frame in enumerate(film.frames[begun:], begun + 1):
        async with opened(await frame.open()) as state:
            for _ in range(2):  # at once, and when all is done
                assert words(state) == ({"b", "none"} if number >= promised else {"a"}), number
                await asyncio.sleep(5)
        assert not left_over(frame)
        async with opened(await frame.open()) as state:
            assert words(state) == ({"b", "none"} if number >= promised else {"a"}), number


@virtual_time
async def test_everybody_sees_all_of_it_at_once() -> None:
    async with opened(await Disk().open()) as state:
        await state.commit(nodes("a"))
        assert words(state) == {"a"}
        seen: list[set[str]] = []
        revisions: set[int] = set()

        async def watch() -> None:
            async with aclosing(state.changes(keys.NODE, state.revision)) as changes:
                async for change in changes:
                    seen.append(words(state))
                    revisions.add(change.revision)

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        revision = await state.commit(nodes("b"))
        assert words(state) == {"b"}
        await asyncio.sleep(5)
        assert seen == [{"b"}] * MANY
        assert revisions == {revision}  # and nothing more when it is in its place
        assert {state.revision_of(key) for key in nodes("b")} == {revision}
        watching.cancel()


@virtual_time
async def test_a_condition_that_does_not_hold_changes_nothing() -> None:
    """Whether the store checks it, or only we can."""
    disk = Disk()
    async with opened(await disk.open()) as state:
        first = await state.commit(nodes("a"))
        known = {key: state.revision_of(key) for key in nodes("a")}
        await state.commit({keys.node("290"): Node("290", "n290", labels={"word": "x"})})
        with pytest.raises(Conflict, match="node/290"):
            await state.commit(nodes("b"), known)
        with pytest.raises(Conflict, match="node/000"):
            await state.commit(nodes("b"), {keys.node("000"): 0})
        assert words(state) == {"a", "x"}
        await asyncio.sleep(5)
        assert not left_over(disk)
        known[keys.node("290")] = state.revision_of(keys.node("290"))
        assert await state.commit(nodes("b"), known) > first
        assert words(state) == {"b"}


@virtual_time
async def test_what_comes_after_is_never_overwritten_by_it() -> None:
    """One of its keys is written, another deleted, at once: then the master is killed."""
    film = Film()
    async with opened(film) as state:
        await state.commit(nodes("a"))
        small = {keys.node("007"): Node("007", "n7", labels={"word": "s"}), keys.node("008"): None}
        await state.commit(small, {keys.node("007"): state.revision_of(keys.node("007"))})
        acknowledged = len(film.frames)
        await state.commit({keys.node("x"): Node("x", "x", labels={"word": "a"})})
        await asyncio.sleep(5)
    for frame in film.frames[acknowledged - 1 :]:
        async with opened(await frame.open()) as state:
            assert (state.find_node("n7").labels, state.node("008")) == ({"word": "s"}, None)


@virtual_time
async def test_a_store_that_goes_away_in_the_middle() -> None:
    disk = Disk()
    store = await disk.open()
    async with opened(store) as state:
        await state.commit(nodes("a"))
        await asyncio.sleep(5)
        store.away = "gone"
        with pytest.raises(Unavailable):
            await state.commit(nodes("b"))
        assert words(state) == {"a"}
        store.away = ""
        await state.commit(nodes("b"))
        store.away = "gone"  # with all promised, and nothing in its place
        assert words(state) == {"b"}
        with pytest.raises(Unavailable, match="before this one"):
            await state.commit({keys.node("000"): None})
        store.away = ""
        await asyncio.sleep(120)
        assert not left_over(disk)
        await state.commit({keys.node("000"): None})
    async with opened(await disk.open()) as state:
        assert words(state) == {"b", "none"}


@virtual_time
async def test_a_marker_that_comes_through_late_is_fenced_off() -> None:
    disk = Disk()
    store = await disk.open()
    async with opened(store) as state:
        await state.commit(nodes("a"))
        await asyncio.sleep(5)
        store.hold_up()
        with pytest.raises(Unavailable):
            await state.commit(nodes("b"))
        store.answer()
        await state.commit({keys.node("000"): Node("000", "n0", labels={"word": "c"})})
        await store.let_through()
        await asyncio.sleep(5)
        assert words(state) == {"a", "c"}
        assert not left_over(disk)
    async with opened(await disk.open()) as state:
        assert words(state) == {"a", "c"}


@virtual_time
async def test_a_marker_that_came_through_without_an_answer_is_taken_back() -> None:
    disk = Disk()
    store = await disk.open()
    async with opened(store) as state:
        await state.commit(nodes("a"))
        await asyncio.sleep(5)
        store.answers_lost = True
        with pytest.raises(Unavailable):
            await state.commit(nodes("b"))
        store.answers_lost = False
        await asyncio.sleep(60)
        assert words(state) == {"a"}
        assert not left_over(disk)
    async with opened(await disk.open()) as state:
        assert words(state) == {"a"}


@virtual_time
async def test_one_that_is_cut_off_leaves_nothing_behind() -> None:
    disk = Disk()
    store = await disk.open()
    async with opened(store) as state:
        await state.commit(nodes("a"))
        await asyncio.sleep(5)
        store.gate.clear()
        commit = asyncio.create_task(state.commit(nodes("b", size=5000)))
        await asyncio.sleep(1)
        commit.cancel()
        await asyncio.wait([commit])
        store.gate.set()
        await asyncio.sleep(60)
        assert words(state) == {"a"}
        assert not left_over(disk)
        await state.commit(nodes("c"))  # and its keys are free
        assert words(state) == {"c"}


@virtual_time
async def test_two_at_once_come_one_after_the_other() -> None:
    async with opened(await Disk().open()) as state:
        known = dict.fromkeys(nodes("a"), 0)
        results = await asyncio.gather(
            state.commit(nodes("a"), known),
            state.commit(nodes("b"), known),
            state.commit({keys.node("000"): Node("000", "n0", labels={"word": "c"})}),
            return_exceptions=True,
        )
        assert [isinstance(r, Conflict) for r in results] == [False, True, False]
        assert words(state) == {"a", "c"}


@virtual_time
async def test_parts_that_somebody_removed_are_dropped_as_a_whole() -> None:
    film = Film()
    async with opened(film) as state:
        await state.commit(nodes("a", size=5000))
    frame = film.frames[2]  # the epoch, a part, the part with the marker
    broken = Disk()
    broken.entries, broken.revision = dict(frame.entries), frame.revision
    del broken.entries[left_over(frame)[0]]
    async with opened(await broken.open()) as state:
        assert state.nodes() == []
        await asyncio.sleep(1)
    assert not left_over(broken)


@virtual_time
async def test_more_than_can_be_written_ahead_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changeset, "MAX_PARTS", 1)
    disk = Disk()
    async with opened(await disk.open()) as state:
        with pytest.raises(InvalidSpec, match="fewer objects at a time"):
            await state.commit(nodes("a", size=5000))
        with pytest.raises(InvalidSpec, match="the value of"):
            await state.commit({**nodes("a"), **nodes("b", count=1, size=1_100_000)})
        assert state.nodes() == []


async def kill_at_work(target: str, rounds: int, seconds: float) -> int:
    """Runs `changeset_writer`, and kills it so long after some rounds; returns the last round that
    it was told is kept."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.master.changeset_writer",
        target,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(rounds + 1)]
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    output = [*lines, *(await process.communicate())[0].split()]
    return int(output[-1]) if len(output) > 1 else -1


async def check_what_is_left(store: Store, kept: int) -> None:
    async with opened(store) as state:
        rounds = {int(node.labels["round"]) for node in state.nodes()}
        assert len(rounds) <= 1
        assert len(state.nodes()) == (MANY if rounds else 0)
        assert max(rounds, default=-1) >= kept


@pytest.mark.slow
async def test_kill_9_at_any_moment_on_sqlite(tmp_path: Path) -> None:
    kept = -1
    for attempt in range(6):
        told = await kill_at_work(str(tmp_path), attempt % 3, 0.004 * attempt)
        kept = max(kept, told)
        await check_what_is_left(await open_sqlite(tmp_path), kept)
    assert kept >= 3  # it was at work


@pytest.mark.slow
@pytest.mark.needs_etcd
async def test_kill_9_at_any_moment_on_etcd(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path / "m")
    server.start()
    try:
        kept = -1
        for attempt in range(4):
            url = f"etcd://{server.address}/test"
            kept = max(kept, await kill_at_work(url, attempt % 2, 0.01 * attempt))
            await check_what_is_left(await open_etcd(EtcdUrl.parse(url), ttl=1), kept)
        assert kept >= 1  # it was at work
    finally:
        server.kill()
