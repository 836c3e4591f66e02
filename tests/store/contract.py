"""What every store promises: one suite for all engines, and for the master's mirror over them.

A test module makes a fixture `engine` and derives a class from `StoreContract`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import pytest

from piccolo.core.errors import Compacted, Conflict, InvalidSpec, Unavailable
from piccolo.store.base import (
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    MAX_VALUE_BYTES,
    Change,
    Condition,
    Delete,
    Put,
    Snapshot,
    Store,
)
from piccolo.store.rules import MAX_COMMIT_BYTES, MAX_CONDITIONS


class Engine(Protocol):
    async def open(self) -> Store:
        """Open the same store, empty at first."""
        ...


async def take(watch: AsyncIterator[Change], count: int) -> list[Change]:
    """The next `count` changes; fails when they do not come."""
    async with asyncio.timeout(10):
        return [await anext(watch) for _ in range(count)]


async def nothing_comes(watch: AsyncIterator[Change], seconds: float = 0.1) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await anext(watch)


def watching(store: Store, prefix: str, after: int) -> Any:
    """The watch, closed at the end of an `async with`."""
    watch: Any = store.watch(prefix, after)
    return aclosing(watch)


def contents(snapshot: Snapshot) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in snapshot.entries}


async def revision_of(store: Store) -> int:
    return (await store.list("")).revision


class StoreContract:
    @pytest.fixture
    async def store(self, engine: Engine) -> AsyncIterator[Store]:
        store = await engine.open()
        yield store
        await store.close()

    # ---- reading and writing ----

    async def test_what_was_put_is_there(self, store: Store) -> None:
        assert await store.get("node/a") is None
        revision = await store.commit([Put("node/a", b"1")])
        entry = await store.get("node/a")
        assert entry is not None
        assert (entry.key, entry.value, entry.revision) == ("node/a", b"1", revision)

    async def test_a_new_value_replaces_the_old_one_at_a_newer_revision(self, store: Store) -> None:
        first = await store.commit([Put("a", b"1")])
        second = await store.commit([Put("a", b"2")])
        other = await store.commit([Put("b", b"3")])
        assert first < second < other
        entry = await store.get("a")
        assert entry is not None
        assert (entry.value, entry.revision) == (b"2", second)

    async def test_the_same_value_again_is_a_change(self, store: Store) -> None:
        first = await store.commit([Put("a", b"1")])
        again = await store.commit([Put("a", b"1")])
        assert again > first
        with pytest.raises(Conflict):
            await store.commit([], [Condition("a", first)])
        async with watching(store, "", first) as watch:
            assert await take(watch, 1) == [Change("a", b"1", again)]

    async def test_a_deleted_key_is_gone(self, store: Store) -> None:
        put = await store.commit([Put("a", b"1"), Put("b", b"2")])
        deleted = await store.commit([Delete("a")])
        assert deleted > put
        assert await store.get("a") is None
        assert contents(await store.list("")) == {"b": b"2"}

    async def test_deleting_what_is_not_there_changes_nothing(self, store: Store) -> None:
        revision = await store.commit([Put("a", b"1")])
        assert await store.commit([Delete("b")]) == revision
        assert await revision_of(store) == revision

    async def test_an_empty_value_is_a_value(self, store: Store) -> None:
        await store.commit([Put("a", b"")])
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b""
        assert contents(await store.list("")) == {"a": b""}

    @pytest.mark.parametrize(
        "key", ["Gerät/größe", "노드/1", "a b\tc", "x\0y", "🦜", "%_'\"\\", "é", "e\u0301"]
    )
    async def test_a_key_is_any_text_and_a_value_any_bytes(self, store: Store, key: str) -> None:
        value = bytes(range(256))
        revision = await store.commit([Put(key, value), Put(key + "/", b"other")])
        entry = await store.get(key)
        assert entry is not None
        assert (entry.key, entry.value) == (key, value)
        assert [e.key for e in (await store.list(key)).entries] == [key, key + "/"]
        async with watching(store, key + "/", revision - 1) as watch:
            assert await take(watch, 1) == [Change(key + "/", b"other", revision)]

    async def test_a_list_is_in_the_order_of_the_keys_bytes(self, store: Store) -> None:
        keys = ["a", "a!", "a/1", "a/10", "a/2", "a0", "b", "z", "é", "￮", "🦜"]
        for chunk in (keys[::2], keys[1::2]):
            await store.commit([Put(key, key.encode()) for key in reversed(chunk)])
        assert [e.key for e in (await store.list("")).entries] == keys

    async def test_a_list_holds_the_keys_of_its_prefix_only(self, store: Store) -> None:
        await store.commit([Put(k, b"") for k in ("a", "a/1", "a/2", "a0", "A/1", "b/a/1")])
        assert [e.key for e in (await store.list("a/")).entries] == ["a/1", "a/2"]
        assert [e.key for e in (await store.list("a/1")).entries] == ["a/1"]
        assert (await store.list("c")).entries == ()

    async def test_a_list_carries_the_revision_of_the_whole_store(self, store: Store) -> None:
        first = await store.commit([Put("a", b"1")])
        second = await store.commit([Put("b", b"2")])
        snapshot = await store.list("a")
        assert snapshot.revision == second
        assert [e.revision for e in snapshot.entries] == [first]

    async def test_a_long_list_is_complete(self, store: Store) -> None:
        keys = [f"n/{number:05}" for number in range(2_500)]
        for start in range(0, len(keys), MAX_OPERATIONS):
            await store.commit([Put(k, k.encode()) for k in keys[start : start + MAX_OPERATIONS]])
        snapshot = await store.list("n/")
        assert [e.key for e in snapshot.entries] == keys
        assert all(e.value == e.key.encode() for e in snapshot.entries)

    # ---- transactions ----

    async def test_a_transaction_has_one_revision(self, store: Store) -> None:
        await store.commit([Put("gone", b"")])
        revision = await store.commit([Put("b", b"1"), Delete("gone"), Put("a", b"2")])
        snapshot = await store.list("")
        assert contents(snapshot) == {"a": b"2", "b": b"1"}
        assert {e.revision for e in snapshot.entries} == {revision} == {snapshot.revision}

    async def test_a_condition_that_holds_lets_the_transaction_pass(self, store: Store) -> None:
        revision = await store.commit([Put("a", b"1")], [Condition("a", 0)])
        await store.commit([Put("a", b"2")], [Condition("a", revision), Condition("b", 0)])
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"2"

    @pytest.mark.parametrize("wrong", ["older", "absent", "exists", "deleted"])
    async def test_a_conflict_names_the_key_and_changes_nothing(
        self, store: Store, wrong: str
    ) -> None:
        old = await store.commit([Put("key", b"1"), Put("gone", b"1")])
        await store.commit([Put("key", b"2"), Delete("gone")])
        before = await store.list("")
        condition = {
            "older": Condition("key", old),
            "absent": Condition("key", 0),
            "exists": Condition("nowhere", old),
            "deleted": Condition("gone", old),
        }[wrong]
        holds = [Condition("fine", 0), condition, Condition("fine too", 0)]
        with pytest.raises(Conflict, match=f'"{condition.key}"'):
            await store.commit([Put("fine", b""), Put("key", b"3"), Delete("key2")], holds)
        assert await store.list("") == before

    async def test_a_transaction_may_only_ask(self, store: Store) -> None:
        revision = await store.commit([Put("a", b"1")])
        assert await store.commit([], [Condition("a", revision)]) == revision
        with pytest.raises(Conflict):
            await store.commit([], [Condition("a", 0)])
        assert await store.commit([]) == revision

    async def test_concurrent_increments_lose_nothing(self, store: Store) -> None:
        await store.commit([Put("counter", b"0")])
        conflicts = 0

        async def increment() -> None:
            nonlocal conflicts
            while True:
                entry = await store.get("counter")
                assert entry is not None
                value = str(int(entry.value) + 1).encode()
                try:
                    await store.commit(
                        [Put("counter", value)], [Condition("counter", entry.revision)]
                    )
                except Conflict:
                    conflicts += 1
                else:
                    return

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(increment())
        entry = await store.get("counter")
        assert entry is not None
        assert entry.value == b"20"
        assert conflicts > 0  # else nothing ran at the same time

    async def test_of_many_who_create_a_key_one_wins(self, store: Store) -> None:
        async def create(number: int) -> int | None:
            try:
                await store.commit([Put("key", b"%d" % number)], [Condition("key", 0)])
            except Conflict:
                return None
            return number

        winners = [n for n in await asyncio.gather(*map(create, range(10))) if n is not None]
        entry = await store.get("key")
        assert entry is not None
        assert [entry.value] == [b"%d" % n for n in winners]

    # ---- limits ----

    async def test_the_largest_transaction_passes(self, store: Store) -> None:
        puts = [Put(f"k{n:03}{300 * 'x'}", b"v") for n in range(MAX_OPERATIONS)]
        conditions = [Condition(put.key, 0) for put in puts[:MAX_CONDITIONS]]
        await store.commit(puts, conditions)
        assert len((await store.list("k")).entries) == MAX_OPERATIONS
        value = bytes(MAX_VALUE_BYTES)
        rest = bytes(MAX_COMMIT_BYTES - MAX_VALUE_BYTES - 2 * MAX_KEY_BYTES)
        largest = [Put("a" * MAX_KEY_BYTES, value), Put("b" * MAX_KEY_BYTES, rest)]
        revision = await store.commit(largest)
        entry = await store.get("a" * MAX_KEY_BYTES)
        assert entry is not None
        assert entry.value == value
        async with watching(store, "b", revision - 1) as watch:
            assert await take(watch, 1) == [Change("b" * MAX_KEY_BYTES, rest, revision)]

    @pytest.mark.parametrize(
        "operations",
        [
            [Put("", b"")],
            [Delete("")],
            [Put("x" * (MAX_KEY_BYTES + 1), b"")],
            [Put("é" * (MAX_KEY_BYTES // 2 + 1), b"")],
            [Put("a", bytes(MAX_VALUE_BYTES + 1))],
            [Put("a", bytes(MAX_COMMIT_BYTES // 2)), Put("b", bytes(MAX_COMMIT_BYTES // 2))],
            [Put("\ud800", b"")],
            [Put("a", b"1"), Put("a", b"2")],
            [Put("a", b"1"), Delete("a")],
            [Delete(str(n)) for n in range(MAX_OPERATIONS + 1)],
        ],
        ids=lambda operations: f"{len(operations)} {operations[0]!r:.25}",
    )
    async def test_what_is_over_the_limits_is_refused(
        self, store: Store, operations: list[Put | Delete]
    ) -> None:
        before = await store.list("")
        with pytest.raises(InvalidSpec):
            await store.commit(operations)
        assert await store.list("") == before

    async def test_too_many_conditions_are_refused(self, store: Store) -> None:
        with pytest.raises(InvalidSpec, match="conditions"):
            await store.commit([], [Condition(str(n), 0) for n in range(MAX_CONDITIONS + 1)])

    # ---- watching ----

    async def test_a_watch_tells_what_happens(self, store: Store) -> None:
        async with watching(store, "", await revision_of(store)) as watch:
            first = await store.commit([Put("a", b"1")])
            assert await take(watch, 1) == [Change("a", b"1", first)]
            second = await store.commit([Put("a", b"2")])
            third = await store.commit([Delete("a")])
            assert await take(watch, 2) == [Change("a", b"2", second), Change("a", None, third)]
            await nothing_comes(watch)

    async def test_a_watch_tells_what_happened_after_a_revision(self, store: Store) -> None:
        revisions = [await store.commit([Put("a", b"%d" % n)]) for n in range(5)]
        async with watching(store, "", revisions[1]) as watch:
            told = await take(watch, 3)
            assert told == [Change("a", b"%d" % n, revisions[n]) for n in (2, 3, 4)]
            last = await store.commit([Put("a", b"live")])
            assert await take(watch, 1) == [Change("a", b"live", last)]

    async def test_a_watch_tells_a_transaction_in_its_order(self, store: Store) -> None:
        start = await store.commit([Put("gone", b"")])
        revision = await store.commit(
            [Put("z", b"1"), Delete("gone"), Put("a", b"2"), Delete("never there")]
        )
        async with watching(store, "", start) as watch:
            assert await take(watch, 3) == [
                Change("z", b"1", revision),
                Change("gone", None, revision),
                Change("a", b"2", revision),
            ]
            await nothing_comes(watch)

    async def test_a_watch_tells_of_its_prefix_only(self, store: Store) -> None:
        start = await revision_of(store)
        async with watching(store, "a/", start) as live:
            for key in ("a", "a/1", "a0", "b", "a/2", "b/a/3"):
                await store.commit([Put(key, b"")])
            assert [c.key for c in await take(live, 2)] == ["a/1", "a/2"]
            async with watching(store, "a/", start) as replay:
                assert [c.key for c in await take(replay, 2)] == ["a/1", "a/2"]
            await nothing_comes(live)

    async def test_a_failed_transaction_is_not_told(self, store: Store) -> None:
        async with watching(store, "", await revision_of(store)) as watch:
            with pytest.raises(Conflict):
                await store.commit([Put("a", b"1")], [Condition("a", 7)])
            revision = await store.commit([Put("b", b"1")])
            assert await take(watch, 1) == [Change("b", b"1", revision)]

    async def test_every_watcher_is_told_everything_once_and_in_order(self, store: Store) -> None:
        start = await revision_of(store)
        writers, each = 5, 40

        async def write(writer: int) -> None:
            for number in range(each):
                await store.commit([Put(f"w/{writer}", b"%d" % number)])

        async def follow(delay: float) -> list[Change]:
            await asyncio.sleep(delay)
            async with watching(store, "w/", start) as watch:
                return await take(watch, writers * each)

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            followers = [tasks.create_task(follow(n * 0.03)) for n in range(5)]
            for writer in range(writers):
                tasks.create_task(write(writer))
        told = followers[0].result()
        revisions = [change.revision for change in told]
        assert revisions == sorted(set(revisions))
        for writer in range(writers):
            values = [c.value for c in told if c.key == f"w/{writer}"]
            assert values == [b"%d" % n for n in range(each)]
        assert all(follower.result() == told for follower in followers)

    async def test_list_then_watch_leaves_no_gap(self, store: Store) -> None:
        await store.commit([Put("n", b"0")])
        stop = asyncio.Event()

        async def write() -> int:
            number = 0
            while not stop.is_set():
                number += 1
                await store.commit([Put("n", b"%d" % number)])
            return number

        writer = asyncio.create_task(write())
        try:
            for _ in range(10):
                await asyncio.sleep(0.01)
                snapshot = await store.list("n")
                async with watching(store, "n", snapshot.revision) as watch:
                    following = await take(watch, 2)
                number = int(snapshot.entries[0].value)
                assert [change.value for change in following] == [
                    b"%d" % (number + 1),
                    b"%d" % (number + 2),
                ]
        finally:
            stop.set()
            await writer

    async def test_a_long_history_is_told_completely(self, store: Store) -> None:
        start = await revision_of(store)
        count = 1_500
        for first in range(0, count, 100):
            await store.commit([Put(f"k{first + n}", b"") for n in range(100)])
        async with watching(store, "", start) as watch:
            assert [c.key for c in await take(watch, count)] == [f"k{n}" for n in range(count)]
            await nothing_comes(watch)

    async def test_what_was_compacted_cannot_be_watched(self, store: Store) -> None:
        revisions = [await store.commit([Put("a", b"%d" % n)]) for n in range(4)]
        deleted = await store.commit([Put("b", b""), Delete("a")])
        last = await store.commit([Put("c", b"")])
        await store.compact(deleted)
        for lost in (0, revisions[0], revisions[3]):
            with pytest.raises(Compacted):
                await anext(store.watch("", lost))
        async with watching(store, "", deleted) as watch:
            assert await take(watch, 1) == [Change("c", b"", last)]
        assert contents(await store.list("")) == {"b": b"", "c": b""}

    async def test_compacting_keeps_all_entries(self, store: Store) -> None:
        for number in range(5):
            await store.commit([Put("changed", b"%d" % number), Put(f"k{number}", b"")])
        await store.commit([Delete("k0")])
        before = await store.list("")
        await store.compact(before.revision)
        await store.compact(before.revision)  # again: nothing left to forget
        await store.compact(before.revision - 3)
        assert await store.list("") == before
        after = await store.commit(
            [Put("changed", b"new"), Delete("k1")], [Condition("k2", before.entries[2].revision)]
        )
        async with watching(store, "", before.revision) as watch:
            assert await take(watch, 2) == [
                Change("changed", b"new", after),
                Change("k1", None, after),
            ]

    async def test_a_revision_of_the_future_is_of_another_store(self, store: Store) -> None:
        revision = await store.commit([Put("a", b"")])
        with pytest.raises(Compacted):
            async with asyncio.timeout(5):
                await anext(store.watch("", revision + 1_000))

    # ---- opening and closing ----

    async def test_what_was_committed_is_there_after_opening_again(self, engine: Engine) -> None:
        store = await engine.open()
        await store.commit([Put("a", b"1"), Put("b", b"2")])
        revision = await store.commit([Delete("b"), Put("c", b"3")])
        await store.close()

        store = await engine.open()
        snapshot = await store.list("")
        assert contents(snapshot) == {"a": b"1", "c": b"3"}
        assert snapshot.revision >= revision
        assert await store.commit([Put("d", b"4")]) > revision
        await store.close()

    async def test_a_second_holder_is_refused(self, engine: Engine, store: Store) -> None:
        await store.commit([Put("a", b"1")])
        with pytest.raises(Conflict, match="process"):
            await engine.open()
        await store.commit([Put("a", b"2")])  # the first one did not notice
        await store.close()
        second = await engine.open()
        assert contents(await second.list("")) == {"a": b"2"}
        await second.close()

    async def test_a_closed_store_says_so(self, store: Store) -> None:
        revision = await store.commit([Put("a", b"1")])
        watch: Any = store.watch("", revision)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)
        await store.close()
        await store.close()
        for call in (
            waiting,
            store.commit([Put("a", b"2")]),
            anext(store.watch("", revision)),
        ):
            with pytest.raises(Unavailable, match="closed"):
                await asyncio.wait_for(call, 5)

    # ---- cancellation ----

    async def test_a_cancelled_commit_happens_or_does_not(self, store: Store) -> None:
        start = await revision_of(store)
        for number in range(60):
            puts = [Put(f"{number}/a", b"x"), Put(f"{number}/b", b"x")]
            commit = asyncio.ensure_future(store.commit(puts))
            await asyncio.sleep(number * 0.00005)
            commit.cancel()
            await asyncio.wait([commit])
            if not commit.cancelled():
                assert contents(await store.list(f"{number}/")).keys() == {p.key for p in puts}
        await store.commit([Put("end", b"")])
        await asyncio.sleep(0.1)  # what was cancelled last may still come through
        snapshot = await store.list("")
        keys = contents(snapshot).keys()
        for number in range(60):
            assert (f"{number}/a" in keys) == (f"{number}/b" in keys)
        async with watching(store, "", start) as watch:
            told = await take(watch, len(keys))
            await nothing_comes(watch)
        assert {c.key for c in told} == keys

    async def test_a_cancelled_reader_leaves_the_store_in_order(self, store: Store) -> None:
        revision = await store.commit([Put("a", b"1")])
        for number in range(20):
            reads = [
                asyncio.ensure_future(read)
                for read in (store.get("a"), store.list(""), anext(store.watch("", revision)))
            ]
            await asyncio.sleep(number * 0.0002)
            for read in reads:
                read.cancel()
            await asyncio.wait(reads)
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"1"
