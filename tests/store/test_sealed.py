"""Encryption at rest over SQLite: the contract, the policies, what an attacker may try, crashes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from piccolo.core.errors import Compacted, Conflict, InvalidSpec, Unavailable
from piccolo.security.keyring import KeyRing
from piccolo.store import sealed as sealed_module
from piccolo.store.base import Condition, Delete, Operation, Put, Store
from piccolo.store.mirror import EPOCH_KEY, MirroredStore, write_behind
from piccolo.store.sealed import UNSCRUBBED, SealedStore
from piccolo.store.seals import HEADER_BYTES, key_id
from piccolo.store.sqlite import SqliteStore, open_sqlite
from tests.store.contract import StoreContract, contents, take, watching

pytestmark = pytest.mark.slow  # the whole contract, in both policies

PASSWORD = b'"correct horse battery staple"'
NODE = b'{"name":"a node that nobody else knows"}'


async def opened(directory: Path) -> SqliteStore:
    """Debian builds SQLite so that it erases what it deletes; others do not."""
    engine = await open_sqlite(directory)
    await engine._run(lambda database: database._one("PRAGMA secure_delete = OFF"))
    return engine


async def sealed(
    directory: Path, *, everything: bool = False, engine: Store | None = None
) -> SealedStore:
    engine = engine or await opened(directory)
    try:
        ring = KeyRing.load(directory, {})
        return await SealedStore.open(engine, ring, everything=everything)
    except BaseException:
        await engine.close()
        raise


class SealedEngine:
    def __init__(self, directory: Path, everything: bool) -> None:
        self.directory = directory
        self.everything = everything

    async def open(self) -> Store:
        return await sealed(self.directory, everything=self.everything)


@pytest.mark.parametrize("everything", [False, True], ids=["secrets", "all"])
class TestContract(StoreContract):
    @pytest.fixture
    def engine(self, tmp_path: Path, everything: bool) -> SealedEngine:
        return SealedEngine(tmp_path / "store", everything)


@asynccontextmanager
async def raw(directory: Path) -> AsyncIterator[Store]:
    """The engine without the layer that encrypts, as an attacker has it."""
    engine = await opened(directory)
    yield engine
    await engine.close()


async def stored(directory: Path) -> dict[str, bytes]:
    async with raw(directory) as engine:
        return contents(await engine.list(""))


def traces(directory: Path, *texts: bytes) -> dict[str, list[bytes]]:
    """Which of `texts` is in which of the files that SQLite keeps."""
    found = {}
    for file in directory.glob("store.db*"):
        if there := [text for text in texts if text in file.read_bytes()]:
            found[file.name] = there
    return found


async def fill(directory: Path, *, everything: bool, nodes: int = 3) -> None:
    store = await sealed(directory, everything=everything)
    await store.commit([Put("secret/wifi", PASSWORD)])
    for first in range(0, nodes, 100):
        last = min(nodes, first + 100)
        await store.commit([Put(f"node/{n}", NODE) for n in range(first, last)])
    await store.close()


# ---- the policies ----


async def test_secrets_are_always_encrypted_and_the_rest_when_it_is_wanted(tmp_path: Path) -> None:
    for everything in (False, True):
        directory = tmp_path / str(everything)
        await fill(directory, everything=everything)
        assert traces(directory, PASSWORD[1:-1]) == {}
        assert bool(traces(directory, NODE)) is not everything
        data = await stored(directory)
        assert data.keys() == {"secret/wifi", "node/0", "node/1", "node/2"}
        assert key_id(data["secret/wifi"]) is not None
        assert (key_id(data["node/1"]) is not None) is everything


async def test_the_same_value_twice_does_not_look_the_same(tmp_path: Path) -> None:
    store = await sealed(tmp_path)
    await store.commit([Put("secret/a", PASSWORD), Put("secret/b", PASSWORD)])
    await store.close()
    data = await stored(tmp_path)
    tails = {value[HEADER_BYTES:] for value in data.values()}
    assert len(tails) == 2
    assert len({tail[:12] for tail in tails}) == 2  # the nonces


async def test_no_plain_value_can_be_taken_for_an_encrypted_one(tmp_path: Path) -> None:
    store = await sealed(tmp_path)
    odd = b"\xff\x01" + bytes(40)
    await store.commit([Put("odd", odd), Put("plain", b"\xfe")])
    await store.close()
    store = await sealed(tmp_path)
    assert contents(await store.list("")) == {"odd": odd, "plain": b"\xfe"}
    await store.close()
    data = await stored(tmp_path)
    assert data["plain"] == b"\xfe"
    assert data["odd"] != odd


async def test_switching_encryption_on_leaves_no_trace_and_off_again_is_readable(
    tmp_path: Path,
) -> None:
    await fill(tmp_path, everything=False, nodes=300)
    async with raw(tmp_path) as engine:  # history, and what was deleted
        for n in range(50):
            await engine.commit([Put("changed", NODE + b"%d" % n)])
        await engine.commit([Delete("changed"), Delete("node/7")])
    assert traces(tmp_path, NODE)
    store = await sealed(tmp_path, everything=True)
    assert traces(tmp_path, NODE, NODE[:20], b"battery") == {}  # at once, not when it is closed
    before = contents(await store.list(""))
    assert len(before) == 300
    await store.close()
    assert traces(tmp_path, NODE, NODE[:20], b"battery") == {}
    assert all(key_id(value) is not None for value in (await stored(tmp_path)).values())

    store = await sealed(tmp_path)
    assert contents(await store.list("")) == before
    await store.close()
    plain = {k for k, v in (await stored(tmp_path)).items() if key_id(v) is None}
    assert plain == before.keys() - {"secret/wifi"}


async def test_opening_what_is_in_line_writes_nothing(tmp_path: Path) -> None:
    for everything in (True, False):
        directory = tmp_path / str(everything)
        await fill(directory, everything=everything)
        async with raw(directory) as engine:
            before = await engine.list("")
        await (await sealed(directory, everything=everything)).close()
        async with raw(directory) as engine:
            assert await engine.list("") == before


# ---- what an attacker may try, and what may be lost ----


async def test_a_value_that_was_changed_is_named(tmp_path: Path) -> None:
    await fill(tmp_path, everything=True)
    good = (await stored(tmp_path))["node/1"]
    for bad in (
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:HEADER_BYTES] + bytes([good[HEADER_BYTES] ^ 1]) + good[HEADER_BYTES + 1 :],
        good[:20],
        good[:5],
        good[:1],
        b"\xff\x00" + good[2:],
    ):
        async with raw(tmp_path) as engine:
            await engine.commit([Put("node/1", bad)])
        with pytest.raises(InvalidSpec, match='"node/1" was tampered with'):
            await sealed(tmp_path, everything=True)


async def test_values_cannot_be_swapped(tmp_path: Path) -> None:
    await fill(tmp_path, everything=True)
    data = await stored(tmp_path)
    async with raw(tmp_path) as engine:
        await engine.commit([Put("node/1", data["node/2"]), Put("node/2", data["node/1"])])
    with pytest.raises(InvalidSpec, match='"node/1" was tampered with'):
        await sealed(tmp_path, everything=True)


async def test_a_plain_secret_is_refused(tmp_path: Path) -> None:
    await fill(tmp_path, everything=False)
    async with raw(tmp_path) as engine:
        await engine.commit([Put("secret/wifi", PASSWORD)])
    with pytest.raises(InvalidSpec, match='"secret/wifi" is not encrypted') as caught:
        await sealed(tmp_path)
    assert "battery" not in str(caught.value)


async def test_a_value_written_without_the_key_is_not_read_while_the_master_runs(
    tmp_path: Path,
) -> None:
    engine = await opened(tmp_path)
    store = await sealed(tmp_path, everything=True, engine=engine)
    revision = await store.commit([Put("node/1", NODE)])
    await engine.commit([Put("node/1", b'{"name":"evil"}')])
    with pytest.raises(InvalidSpec, match='"node/1" is not encrypted'):
        await store.get("node/1")
    with pytest.raises(Compacted, match='"node/1" is not encrypted'):
        async with watching(store, "", revision) as changes:
            await take(changes, 1)
    await store.close()


async def test_a_newer_format_asks_for_a_newer_program(tmp_path: Path) -> None:
    await fill(tmp_path, everything=True)
    good = (await stored(tmp_path))["node/1"]
    async with raw(tmp_path) as engine:
        await engine.commit([Put("node/1", b"\xff\x02" + good[2:])])
    with pytest.raises(InvalidSpec, match="newer PICCOLO"):
        await sealed(tmp_path, everything=True)


@pytest.mark.parametrize("other", [False, True], ids=["none", "another"])
async def test_without_its_key_a_store_is_not_opened_and_no_key_is_made(
    tmp_path: Path, other: bool
) -> None:
    await fill(tmp_path, everything=False)
    before = await stored(tmp_path)
    file = tmp_path / "pki" / "store.key"
    text = file.read_text()
    file.unlink()
    if other:
        KeyRing.load(tmp_path, {}).renew()
    files = {p: p.read_text() for p in file.parent.iterdir()}
    id = key_id(before["secret/wifi"])
    assert id is not None
    pattern = f'"secret/wifi" needs the store key {id.hex()}, and {file} has'
    with pytest.raises(InvalidSpec, match=pattern):
        await sealed(tmp_path)
    assert {p: p.read_text() for p in file.parent.iterdir()} == files
    assert await stored(tmp_path) == before
    file.touch(mode=0o600)
    file.write_text(text)
    store = await sealed(tmp_path)
    assert contents(await store.list("secret/")) == {"secret/wifi": PASSWORD}
    await store.close()


# ---- a crash at any instant ----


class Crash(Exception):
    pass


class Crashing:
    """An engine that works for so many calls that change something, and then no more."""

    def __init__(self, engine: Store, calls: int, *, after: bool) -> None:
        self._engine = engine
        self._calls = calls
        self._after = after  # the last one happens, and is not answered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        revision: int = await self._do(lambda: self._engine.commit(operations, conditions))
        return revision

    async def scrub(self) -> str:
        advice: str = await self._do(self._engine.scrub)
        return advice

    async def _do(self, call: Callable[[], Any]) -> Any:
        self._calls -= 1
        if self._calls < 0 and self._after:
            await call()
        if self._calls < 0:
            raise Crash
        return await call()


@pytest.mark.parametrize("after", [False, True])
async def test_encrypting_an_old_store_may_end_at_any_instant(tmp_path: Path, after: bool) -> None:
    finished = False
    for calls in range(30):
        directory = tmp_path / f"{calls}"
        await fill(directory, everything=False, nodes=300)
        async with raw(directory) as engine:
            before = contents(await engine.list("node/"))
        crashing: Any = Crashing(await opened(directory), calls, after=after)
        try:
            store = await sealed(directory, everything=True, engine=crashing)
            await store.close()
            finished = True
        except Crash:
            pass
        store = await sealed(directory, everything=True)
        assert contents(await store.list("node/")) == before
        assert await store.get(UNSCRUBBED) is None
        assert traces(directory, NODE) == {}
        await store.close()
        if finished:
            break
    assert finished
    assert calls >= 5


async def test_a_trace_that_cannot_be_removed_now_is_removed_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(tmp_path, everything=False)

    async def full() -> str:
        raise Unavailable("no space left on the disk")

    engine = await opened(tmp_path)
    engine.scrub = full  # type: ignore[method-assign]
    store = await sealed(tmp_path, everything=True, engine=engine)
    assert "no space left on the disk; until the next start" in caplog.text
    assert (await store.get("node/1")) is not None
    await store.close()
    assert traces(tmp_path, NODE)
    await (await sealed(tmp_path, everything=True)).close()
    assert traces(tmp_path, NODE) == {}


# ---- rotation, below a mirror that is in use ----


@pytest.fixture
async def mirrored(tmp_path: Path) -> AsyncIterator[tuple[MirroredStore, SealedStore]]:
    store = await sealed(tmp_path, everything=True)
    mirror = await MirroredStore.load(store)
    running = asyncio.create_task(mirror.run())
    await asyncio.sleep(0)
    yield mirror, store
    await mirror.close()
    await running


Mirrored = tuple[MirroredStore, SealedStore]


async def test_rotation_changes_every_value_and_no_revision(
    tmp_path: Path, mirrored: Mirrored
) -> None:
    mirror, store = mirrored
    await mirror.commit([Put(f"node/{n}", NODE) for n in range(100)])
    for n in range(8):
        await mirror.commit([Put(f"big/{n}", bytes(200_000))])
    await mirror.commit([Put("gone", b"")])
    revision = await mirror.commit([Delete("gone"), Put("secret/a", PASSWORD)])
    before = await mirror.list("")
    first = KeyRing.load(tmp_path, {}).ids
    async with watching(mirror, "", revision) as changes:
        id, count = await store.rotate(mirror.rewrite)
        assert count == 100 + 8 + 1 + 1  # with the mirror's own
        ring = KeyRing.load(tmp_path, {})
        assert [i.hex() for i in ring.ids] == [id]
        assert ring.ids != first
        assert await mirror.list("") == before
        # Conditions on the revisions of before still hold, and nothing but this is told.
        at = {e.key: e.revision for e in before.entries}
        conditions = [Condition(k, at[k]) for k in ("node/1", "big/2", "secret/a")]
        after = await mirror.commit([Put("node/1", b"2")], conditions)
        told = await take(changes, 1)
        assert [(c.key, c.revision) for c in told] == [("node/1", after)]
    data = contents(await store._engine.list(""))
    assert {key_id(value) for value in data.values()} == set(ring.ids)
    assert EPOCH_KEY in data
    assert not traces(tmp_path, *first)  # nothing that the old key opens is left


async def test_rotation_does_not_disturb_those_who_write(mirrored: Mirrored) -> None:
    mirror, store = mirrored
    await mirror.commit([Put(f"n/{n}", b"0") for n in range(40)])
    stop = asyncio.Event()

    async def increment(key: str) -> int:
        """Nobody else writes this key, so no condition may ever fail."""
        number = 0
        while not stop.is_set():
            entry = await mirror.get(key)
            assert entry is not None
            assert int(entry.value) == number
            number += 1
            await mirror.commit([Put(key, b"%d" % number)], [Condition(key, entry.revision)])
        return number

    async def observe() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            mirror.observe("seen", b"%d" % number)
            await asyncio.sleep(0.001)
        return number

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(increment(f"n/{n}")) for n in range(10)]
        observer = tasks.create_task(observe())
        for _ in range(4):
            await asyncio.sleep(0.05)
            await store.rotate(mirror.rewrite)
        stop.set()
    for n, writer in enumerate(writers):
        entry = await mirror.get(f"n/{n}")
        assert entry is not None
        assert int(entry.value) == writer.result() > 3
    await mirror._write_behind.flush()
    found = contents(await store.list(""))
    assert found["seen"] == b"%d" % observer.result()
    assert mirror.degraded is None


async def test_a_rewritten_value_of_somebody_else_is_kept(tmp_path: Path) -> None:
    store = await sealed(tmp_path)
    mirror = await MirroredStore.load(store)  # nothing tells it of changes: `run` is not running
    await mirror.commit([Put("a", b"1"), Put("b", b"1"), Put("c", b"1")])
    await store.commit([Put("a", b"theirs"), Delete("b")])
    assert await mirror.rewrite(["a", "b", "c", "never there"]) == 2
    found = contents(await store.list(""))
    found.pop(EPOCH_KEY)
    assert found == {"a": b"theirs", "c": b"1"}
    entry = await mirror.get("a")
    assert entry is not None
    assert entry.value == b"theirs"
    await mirror.commit([Put("a", b"2")], [Condition("a", entry.revision)])
    await mirror.close()


async def test_a_rewrite_takes_turns_with_a_commit_under_way(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    mirror = await MirroredStore.load(await sealed(tmp_path, engine=engine))
    revision = await mirror.commit([Put("a", b"1"), Put("b", b"1")])
    gate, commit = asyncio.Event(), engine.commit

    async def slow(operations: Any, conditions: Any = ()) -> int:
        await gate.wait()
        return await commit(operations, conditions)

    engine.commit = slow  # type: ignore[method-assign]
    writing = asyncio.create_task(mirror.commit([Put("a", b"2")], [Condition("a", revision)]))
    await asyncio.sleep(0)
    engine.commit = commit  # type: ignore[method-assign]
    rewriting = asyncio.create_task(mirror.rewrite(["a", "b"]))
    await asyncio.sleep(0.1)
    gate.set()
    await writing
    assert await rewriting == 2
    assert contents(await mirror.backing.list("")).items() >= {("a", b"2"), ("b", b"1")}
    await mirror.close()


class Interrupted:
    """Lets `rewrite` do a part of its work."""

    def __init__(self, mirror: MirroredStore, count: int) -> None:
        self.mirror, self.count = mirror, count

    async def __call__(self, keys: Sequence[str]) -> int:
        await self.mirror.rewrite(keys[: self.count])
        raise Crash


async def test_a_rotation_that_was_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    store = await sealed(tmp_path, everything=False)
    mirror = await MirroredStore.load(store)
    await mirror.commit([Put(f"secret/{n}", b"%d" % n) for n in range(9)])
    before = contents(await mirror.list(""))
    for count in (0, 4):
        with pytest.raises(Crash):
            await store.rotate(Interrupted(mirror, count))
    assert len(KeyRing.load(tmp_path, {}).ids) == 3
    assert contents(await store.list("secret/")) == before
    await mirror.close()
    store = await sealed(tmp_path, everything=False)
    assert len(KeyRing.load(tmp_path, {}).ids) == 1
    assert contents(await store.list("secret/")) == before
    await store.close()


async def test_a_store_that_is_away_gets_no_new_key(
    mirrored: Mirrored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, store = mirrored

    async def away(_: str) -> Any:
        raise Unavailable("the store is away")

    before = KeyRing.load(tmp_path, {}).ids
    with monkeypatch.context() as patch:
        patch.setattr(store._engine, "list", away)
        with pytest.raises(Unavailable, match="away"):
            await store.rotate(mirror.rewrite)
    assert KeyRing.load(tmp_path, {}).ids == before


async def test_one_rotation_at_a_time(mirrored: Mirrored) -> None:
    mirror, store = mirrored
    await mirror.commit([Put("a", b"1")])
    first = asyncio.create_task(store.rotate(mirror.rewrite))
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="being rotated already"):
        await store.rotate(mirror.rewrite)
    await first


async def test_a_write_under_way_is_waited_for(tmp_path: Path) -> None:
    """It was sealed with the old key, and is not in the engine yet."""
    engine = await opened(tmp_path)
    gate = asyncio.Event()
    commit = engine.commit

    async def slow(operations: Any, conditions: Any = ()) -> int:
        await gate.wait()
        return await commit(operations, conditions)

    store = await sealed(tmp_path, engine=engine)
    engine.commit = slow  # type: ignore[method-assign]
    writing = asyncio.create_task(store.commit([Put("secret/late", PASSWORD)]))
    await asyncio.sleep(0)
    engine.commit = commit  # type: ignore[method-assign]

    async def rewrite(keys: Collection[str]) -> int:
        entries = [(await store.get(key), key) for key in keys]
        return await store.commit([Put(key, e.value) for e, key in entries if e])

    rotating = asyncio.create_task(store.rotate(rewrite))
    await asyncio.sleep(0.1)
    assert not rotating.done()
    gate.set()
    await writing
    await rotating
    await store.close()
    store = await sealed(tmp_path)
    assert contents(await store.list("")) == {"secret/late": PASSWORD}
    await store.close()


async def test_a_write_that_was_not_answered_keeps_the_old_key(
    mirrored: Mirrored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, store = mirrored
    await mirror.commit([Put("a", b"1")])
    commit = store._engine.commit

    async def deaf(*_: Any) -> int:
        raise Unavailable("no answer came")

    monkeypatch.setattr(store._engine, "commit", deaf)
    with pytest.raises(Unavailable):
        await mirror.commit([Put("b", b"1")])
    monkeypatch.setattr(store._engine, "commit", commit)
    with pytest.raises(Unavailable, match="rotate again in 60 s"):
        await store.rotate(mirror.rewrite)
    assert len(KeyRing.load(tmp_path, {}).ids) == 1
    monkeypatch.setattr(sealed_module, "DOUBT_SECONDS", 0.0)
    await store.rotate(mirror.rewrite)
    assert contents(await mirror.list("")) == {"a": b"1"}


async def test_a_key_of_systemd_is_not_rotated_but_replaced_by_hand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    file = credentials / "piccolo-store-key"
    file.write_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}

    async def open() -> SealedStore:
        engine = await open_sqlite(tmp_path / "data")
        return await SealedStore.open(
            engine, KeyRing.load(tmp_path / "data", environ), everything=True
        )

    store = await open()
    await store.commit([Put("a", b"1")])
    mirror = await MirroredStore.load(store)
    with pytest.raises(InvalidSpec, match="Put a new line before"):
        await store.rotate(mirror.rewrite)
    assert contents(await store.list("a")) == {"a": b"1"}
    await mirror.close()
    assert not (tmp_path / "data" / "pki" / "store.key").exists()

    file.write_text("YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU=\n" + file.read_text())
    store = await open()
    assert contents(await store.list("a")) == {"a": b"1"}
    await store.close()
    assert "remove them" in caplog.text
    file.write_text("YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU=\n")
    store = await open()
    assert contents(await store.list("a")) == {"a": b"1"}
    await store.close()


def test_the_mark_is_no_text() -> None:
    assert key_id(json.dumps({"a": "ÿ"}, ensure_ascii=False).encode()) is None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "GATHER_SECONDS", 0.02)
