from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from grpclib.exceptions import StreamTerminatedError

from piccolo.core.errors import (
    Compacted,
    Conflict,
    InvalidSpec,
    PermissionDenied,
    StaleGeneration,
    Unavailable,
)
from piccolo.rpc.generated.etcdserverpb import KvStub, RangeRequest
from piccolo.store.base import Change, Condition, Put, Store
from piccolo.store.etcd import EtcdStore, EtcdUrl, open_etcd
from piccolo.store.etcd import client as client_module
from piccolo.store.etcd import watch as watch_module
from piccolo.store.etcd.client import EtcdClient
from piccolo.store.rules import key_range
from tests.store.certificates import Authority
from tests.store.contract import StoreContract, contents, nothing_comes, take, watching
from tests.store.etcd_server import EtcdCluster, EtcdServer

pytestmark = pytest.mark.needs_etcd

ROOT = Path(__file__).resolve().parents[2]
PREFIXES = (f"test{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One for all tests that do it no harm; each uses a prefix of its own."""
    server = EtcdServer(tmp_path_factory.mktemp("etcd") / "shared")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., EtcdServer]]:
    servers: list[EtcdServer] = []

    def make(*options: str, **more: str) -> EtcdServer:
        servers.append(EtcdServer(tmp_path / f"etcd{len(servers)}", *options, **more))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes silence shorter, for tests that wait for its end."""
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 1.0)


@pytest.fixture
def url(server: EtcdServer) -> str:
    return f"etcd://{server.address}/{next(PREFIXES)}"


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Any]]:
    """Opens stores and closes them at the end."""
    stores: list[EtcdStore] = []

    async def open(url: str, ttl: int = 1) -> EtcdStore:
        stores.append(await open_etcd(url, ttl=ttl))
        return stores[-1]

    yield open
    for store in stores:
        await store.close()


async def until_committed(store: Store, *puts: Put) -> int:
    """Repeat a commit until the store is available."""
    async with asyncio.timeout(15):
        while True:
            try:
                return await store.commit(puts)
            except Unavailable:
                await asyncio.sleep(0.1)


class EtcdEngine:
    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> Store:
        return await open_etcd(self.url, ttl=1)


@pytest.fixture
def engine(url: str) -> EtcdEngine:
    return EtcdEngine(url)


class TestContract(StoreContract):
    pass


# ---- what lies in etcd ----


async def test_prefixes_keep_stores_apart(server: EtcdServer, opened: Callable[..., Any]) -> None:
    name = next(PREFIXES)
    one = await opened(f"etcd://{server.address}/{name}")
    two = await opened(f"etcd://{server.address}/{name}/b/")
    start = (await one.list("")).revision
    async with watching(one, "", start) as watch:
        await two.commit([Put("a", b"two")])
        revision = await one.commit([Put("a", b"one")])
        assert await take(watch, 1) == [Change("a", b"one", revision)]
    assert contents(await one.list("")) == {"a": b"one"}
    assert contents(await two.list("")) == {"a": b"two"}
    assert server.ctl("get", f"/{name}/data/a", "--print-value-only") == "one\n"
    assert server.ctl("get", f"/{name}/b/data/a", "--print-value-only") == "two\n"


async def test_a_change_by_another_program_is_told(
    server: EtcdServer, url: str, opened: Callable[..., Any]
) -> None:
    store = await opened(url)
    start = (await store.list("")).revision
    async with watching(store, "", start) as watch:
        await asyncio.to_thread(server.ctl, "put", f"/{url.rpartition('/')[2]}/data/a", "theirs")
        told = await take(watch, 1)
        assert [(c.key, c.value) for c in told] == [("a", b"theirs")]


async def test_the_future_cannot_be_compacted(url: str, opened: Callable[..., Any]) -> None:
    store = await opened(url)
    with pytest.raises(InvalidSpec, match="cannot compact"):
        await store.compact((await store.list("")).revision + 100)


async def test_large_revisions_in_fragments_come_whole(
    url: str, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fragments = 0
    original = watch_module._judge

    def judge(response: Any, link: Any) -> Any:
        nonlocal fragments
        fragments += bool(getattr(response, "fragment", False))
        return original(response, link)

    monkeypatch.setattr(watch_module, "_judge", judge)
    store = await opened(url)
    start = (await store.list("")).revision
    value = bytes(10_000)
    for _ in range(6):
        await store.commit([Put(f"k{n:03}", value) for n in range(100)])
    low, high = key_range("", store._root)
    async with aclosing(watch_module.watch(store._client, low, high, start)) as batches:
        seen: list[tuple[int, bytes]] = []
        async for events in batches:
            revisions = [event.kv.mod_revision for event in events if event.kv]
            assert all(revisions.count(revision) == 100 for revision in set(revisions))
            seen += [(event.kv.mod_revision, event.kv.key) for event in events if event.kv]
            if len(seen) >= 600:
                break
    assert len(set(seen)) == 600
    assert seen == sorted(seen)
    assert fragments > 1


# ---- one holder ----


async def test_the_holder_is_named(url: str, opened: Callable[..., Any]) -> None:
    await opened(url)
    pattern = rf"held by process {os.getpid()} on {socket.gethostname()} \(since \d{{4}}-"
    with pytest.raises(Conflict, match=pattern) as caught:
        await opened(url)
    assert not isinstance(caught.value, StaleGeneration)


async def start_master(url: str, ttl: int) -> asyncio.subprocess.Process:
    master = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.store.master",
        url,
        str(ttl),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert master.stdout is not None
    assert await master.stdout.readline() == b"open\n"
    return master


async def ask(master: asyncio.subprocess.Process) -> str:
    assert master.stdin is not None
    assert master.stdout is not None
    master.stdin.write(b"x\n")
    async with asyncio.timeout(10):
        return (await master.stdout.readline()).decode()


async def finish(master: asyncio.subprocess.Process) -> None:
    if master.returncode is None:
        master.kill()
    await master.communicate()


async def test_a_dead_holder_is_waited_for(url: str, opened: Callable[..., Any]) -> None:
    master = await start_master(url, 1)
    try:
        assert await ask(master) == "ok\n"
    finally:
        await finish(master)
    async with asyncio.timeout(4):
        store = await opened(url)
    assert contents(await store.list("")) == {"master": b"x\n"}


async def test_a_master_that_was_frozen_and_replaced_can_never_write_again(
    url: str, opened: Callable[..., Any]
) -> None:
    master = await start_master(url, 1)
    try:
        assert await ask(master) == "ok\n"
        master.send_signal(signal.SIGSTOP)
        newer = await opened(url)
        await newer.commit([Put("master", b"newer")])
        await newer.close()  # gone again: the older one must not come back for that
        master.send_signal(signal.SIGCONT)
        answer = await ask(master)
        assert answer.startswith(
            f"StaleGeneration: this master was replaced by process {os.getpid()} on "
        )
        assert (await ask(master)).startswith("StaleGeneration: ")
    finally:
        await finish(master)
    last = await opened(url)
    assert contents(await last.list("")) == {"master": b"newer"}


async def test_a_replaced_master_learns_it_while_idle(
    server: EtcdServer, url: str, opened: Callable[..., Any]
) -> None:
    first = await opened(url)
    revision = await first.commit([Put("a", b"1")])
    watch = first.watch("", revision)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.2)
    prefix = f"/{url.rpartition('/')[2]}/"
    # As if the lease had run out and another master had come.
    server.ctl("del", f"{prefix}holder")
    second = await opened(url)
    with pytest.raises(StaleGeneration, match="replaced by process"):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(StaleGeneration):
        await first.commit([Put("a", b"2")])
    with pytest.raises(StaleGeneration):
        await first.get("a")
    await second.commit([Put("a", b"3")])
    await first.close()
    await second.commit([Put("a", b"4")])  # closing the first one took nothing from it


async def test_a_lost_lease_that_nobody_took_is_taken_again(
    server: EtcdServer, url: str, opened: Callable[..., Any]
) -> None:
    store = await opened(url)
    await store.commit([Put("a", b"1")])
    lease = f"{store._holder._lease:x}"
    server.ctl("lease", "revoke", lease)
    await store.commit([Put("a", b"2")])  # nobody replaced us
    await asyncio.sleep(0.8)
    with pytest.raises(Conflict, match="held by"):
        await opened(url)
    await store.commit([Put("a", b"3")])
    assert f"{store._holder._lease:x}" != lease


async def test_a_replaced_master_does_not_take_the_lease_again(
    server: EtcdServer, url: str, opened: Callable[..., Any]
) -> None:
    first = await opened(url, ttl=30)
    server.ctl("lease", "revoke", f"{first._holder._lease:x}")
    second = await opened(url)
    await second.close()
    with pytest.raises(StaleGeneration):
        await first._holder.renew()
    assert server.ctl("get", f"/{url.rpartition('/')[2]}/holder") == ""


async def test_the_lease_is_kept_alive(url: str, opened: Callable[..., Any]) -> None:
    store = await opened(url)
    lease = store._holder._lease
    await asyncio.sleep(2.5)
    assert store._holder._lease == lease
    await store.close()
    async with asyncio.timeout(0.5):  # it was given back
        await opened(url)


# ---- lost connections ----


async def test_a_watch_goes_on_after_a_restart(
    make_server: Callable[..., EtcdServer], opened: Callable[..., Any]
) -> None:
    server = make_server()
    store = await opened(f"etcd://{server.address}", ttl=5)
    start = (await store.list("")).revision
    async with watching(store, "", start) as watch:
        expected = [await store.commit([Put("a", b"%d" % n)]) for n in range(3)]
        assert [c.revision for c in await take(watch, 2)] == expected[:2]
        server.kill()
        with pytest.raises(Unavailable, match=f"cannot reach etcd at {server.address}"):
            await store.commit([Put("a", b"lost")])
        with pytest.raises(Unavailable):
            await store.get("a")
        await nothing_comes_but(watch, expected[2:])
        server.start()
        expected += [await until_committed(store, Put("a", b"%d" % n)) for n in range(3, 6)]
        assert [c.revision for c in await take(watch, 3)] == expected[3:]
        await nothing_comes(watch)


async def nothing_comes_but(watch: AsyncIterator[Change], revisions: list[int]) -> None:
    assert [c.revision for c in await take(watch, len(revisions))] == revisions


async def test_a_watch_whose_place_was_compacted_meanwhile_says_so(
    make_server: Callable[..., EtcdServer], opened: Callable[..., Any]
) -> None:
    server = make_server()
    store = await opened(f"etcd://{server.address}", ttl=5)
    revision = await store.commit([Put("a", b"1")])
    async with watching(store, "", revision) as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.3)
        server.kill()
        await asyncio.sleep(0.2)
        # While the watch is away: changes, then compaction.
        port, server.port = server.port, 0
        hidden = EtcdServer(server._directory)
        hidden.name, hidden.members = server.name, server.members
        hidden.peer_port = server.peer_port
        hidden.start()
        try:
            hidden.ctl("put", "/piccolo/data/a", "2")
            hidden.ctl("del", "/piccolo/data/a")
            hidden.ctl("compaction", str(revision + 2))
        finally:
            hidden.kill()
        server.port = port
        server.start()
        with pytest.raises(Compacted, match="list again"):
            await asyncio.wait_for(waiting, 10)
    assert (await store.list("")).entries == ()


async def test_a_cluster_survives_the_death_of_its_leader(
    tmp_path: Path, opened: Callable[..., Any]
) -> None:
    cluster = EtcdCluster(tmp_path / "cluster")
    try:
        cluster.start()
        leader = cluster.leader()
        others = [server for server in cluster.servers if server is not leader]
        # The leader first, so that the connection is to it.
        hosts = ",".join(server.address for server in (leader, *others))
        store = await opened(f"etcd://{hosts}", ttl=5)
        start = (await store.list("")).revision
        async with watching(store, "", start) as watch:
            for number in range(10):
                await store.commit([Put("a", b"%d" % number)])
            leader.kill()
            began = asyncio.get_running_loop().time()
            acknowledged = [await until_committed(store, Put("a", b"first after"))]
            assert asyncio.get_running_loop().time() - began < 5
            for number in range(10, 20):
                acknowledged.append(await store.commit([Put("a", b"%d" % number)]))
            told = await take(watch, 10)
            while told[-1].value != b"19":
                told += await take(watch, 1)
        revisions = [change.revision for change in told]
        assert revisions == sorted(set(revisions))
        assert set(acknowledged) <= set(revisions)
        values = [change.value for change in told if change.value != b"first after"]
        assert values == [b"%d" % n for n in range(20)]
    finally:
        cluster.kill()


async def test_a_silent_member_is_left_for_another(
    tmp_path: Path, opened: Callable[..., Any], impatient: None
) -> None:
    cluster = EtcdCluster(tmp_path / "cluster")
    try:
        cluster.start()
        leader = cluster.leader()
        silent, other = (server for server in cluster.servers if server is not leader)
        store = await opened(f"etcd://{silent.address},{other.address},{leader.address}", ttl=3)
        revision = await store.commit([Put("a", b"1")])
        async with watching(store, "", revision) as watch:
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0.2)
            silent.freeze()
            loop = asyncio.get_running_loop()
            began = loop.time()
            entry = await store.get("a")
            assert entry is not None
            assert 0.9 < loop.time() - began < 3
            second = await store.commit([Put("a", b"2")])
            assert await asyncio.wait_for(waiting, 5) == Change("a", b"2", second)
        await store.close()
        # One that accepts connections and says nothing, when a store is opened.
        began = loop.time()
        store = await opened(f"etcd://{silent.address},{other.address}")
        assert loop.time() - began < 3
    finally:
        cluster.kill()


async def test_without_etcd_opening_fails_in_time(
    make_server: Callable[..., EtcdServer], opened: Callable[..., Any], impatient: None
) -> None:
    server = make_server()
    server.freeze()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Unavailable, match=f"etcd at {server.address} did not answer in time"):
        await opened(f"etcd://{server.address}")
    assert loop.time() - began < 4
    server.kill()
    began = loop.time()
    with pytest.raises(Unavailable, match="cannot reach etcd at"):
        await opened(f"etcd://{server.address},127.0.0.1:1")
    assert loop.time() - began < 1


async def test_a_commit_cut_off_on_its_way_is_not_repeated(
    make_server: Callable[..., EtcdServer], opened: Callable[..., Any], impatient: None
) -> None:
    server = make_server()
    store = await opened(f"etcd://{server.address}", ttl=20)
    revision = await store.commit([Put("a", b"1")])
    server.freeze()
    commit = asyncio.ensure_future(store.commit([Put("a", b"2")], [Condition("a", revision)]))
    with pytest.raises(Unavailable, match="did not answer in time"):
        await commit  # and not Conflict with itself
    server.thaw()
    entry = await store.get("a")
    assert entry is not None
    assert entry.value in (b"1", b"2")  # nobody could know


@pytest.mark.parametrize(("repeatable", "expected"), [(True, 2), (False, 1)])
async def test_only_what_does_no_harm_is_repeated(
    server: EtcdServer, repeatable: bool, expected: int
) -> None:
    client = EtcdClient(EtcdUrl.parse(f"etcd://{server.address}"))
    attempts = 0

    async def send(link: Any) -> None:
        nonlocal attempts
        attempts += 1
        raise StreamTerminatedError("connection lost")

    with pytest.raises(Unavailable, match="closed the connection"):
        await client.call(send, repeatable=repeatable)
    assert attempts == expected
    client.stop(Unavailable("the store is closed"))


async def test_a_link_that_was_given_up_leaves_no_connection(server: EtcdServer) -> None:
    client = EtcdClient(EtcdUrl.parse(f"etcd://{server.address}"))
    links = []

    async def send(link: Any) -> None:
        links.append(link)
        client.give_up(link)  # by another call, just before this one uses it
        await link(KvStub).range(RangeRequest(key=b"x"))

    await client.call(send)
    assert not links[0].channel._connected
    client.stop(Unavailable("the store is closed"))


async def test_a_member_without_a_leader_is_given_a_moment(
    tmp_path: Path,
    opened: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = EtcdCluster(tmp_path / "cluster")
    try:
        cluster.start()
        member, *others = cluster.servers
        store = await opened(f"etcd://{member.address}", ttl=5)
        for server in others:
            server.freeze()
        await asyncio.sleep(1.0)  # the election timeout is 0.3 s
        with monkeypatch.context() as patch:
            patch.setattr(client_module, "PATIENCE_SECONDS", 0.5)
            with pytest.raises(Unavailable, match="no leader"):
                await store.commit([Put("a", b"1")])
        commit = asyncio.ensure_future(store.commit([Put("a", b"2")]))
        await asyncio.sleep(0.5)
        for server in others:
            server.thaw()
        await asyncio.wait_for(commit, 6)
        assert contents(await store.list("")) == {"a": b"2"}
    finally:
        cluster.kill()


async def test_a_full_etcd_says_what_to_do(
    make_server: Callable[..., EtcdServer], opened: Callable[..., Any]
) -> None:
    server = make_server(f"--quota-backend-bytes={4 * 1024 * 1024}")
    store = await opened(f"etcd://{server.address}", ttl=20)

    async def fill() -> None:
        for _ in range(30):
            await store.commit([Put("a", bytes(1_000_000))])

    with pytest.raises(Unavailable, match="space exceeded: compact and defragment"):
        await fill()
    await store.compact((await store.list("")).revision)
    server.ctl("defrag")
    server.ctl("alarm", "disarm")
    await store.commit([Put("a", b"")])


# ---- TLS and users ----


async def test_tls_with_client_certificates(
    tmp_path: Path, make_server: Callable[..., EtcdServer], opened: Callable[..., Any]
) -> None:
    authority, stranger = Authority(tmp_path / "pki"), Authority(tmp_path / "stranger")
    cert, key = authority.issue("server")
    mine, my_key = authority.issue("master")
    server = make_server(
        f"--cert-file={cert}",
        f"--key-file={key}",
        f"--trusted-ca-file={authority.ca}",
        "--client-cert-auth",
        scheme="https",
    )
    good = f"etcds://{server.address}?ca={authority.ca}&cert={mine}&key={my_key}"
    store = await opened(good)
    revision = await store.commit([Put("a", b"1")])
    async with watching(store, "", revision - 1) as watch:
        assert await take(watch, 1) == [Change("a", b"1", revision)]
    await store.close()

    bad_cert, bad_key = stranger.issue("master")
    for options, error, message in (
        (f"?ca={stranger.ca}&cert={mine}&key={my_key}", Unavailable, "has a bad certificate"),
        (f"?ca={authority.ca}", Unavailable, "etcd at"),
        (f"?ca={authority.ca}&cert={bad_cert}&key={bad_key}", Unavailable, "etcd at"),
        (f"?ca={authority.ca}&cert={mine}&key={bad_key}", InvalidSpec, "cannot use the TLS files"),
        (f"?ca={tmp_path / 'missing'}", InvalidSpec, "cannot use the TLS files"),
    ):
        with pytest.raises(error, match=message):
            await opened(f"etcds://{server.address}{options}")
    with pytest.raises(Unavailable, match="is one side without TLS"):
        await opened(f"etcd://{server.address}")


async def test_a_tls_address_of_a_plain_server(
    server: EtcdServer, opened: Callable[..., Any]
) -> None:
    with pytest.raises(Unavailable, match=f"etcd at {server.address}"):
        await opened(f"etcds://{server.address}")


async def test_users_and_tokens_that_expire(
    tmp_path: Path, make_server: Callable[..., EtcdServer], opened: Callable[..., Any]
) -> None:
    server = make_server("--auth-token-ttl=1", "--bcrypt-cost=4")
    password = "p@ss:wörd/#"
    for arguments in (
        ("user", "add", "root:secret"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "piccolo"),
        ("role", "grant-permission", "piccolo", "--prefix=true", "readwrite", "/mine/"),
        ("user", "add", f"master:{password}"),
        ("user", "grant-role", "master", "piccolo"),
        ("auth", "enable"),
    ):
        server.ctl(*arguments)
    url = f"etcd://master:p%40ss%3Aw%C3%B6rd%2F%23@{server.address}/mine"
    store = await opened(url, ttl=3)
    revision = await store.commit([Put("a", b"1")])
    async with watching(store, "", revision) as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(2.6)  # the token is forgotten by now
        second = await store.commit([Put("a", b"2")])
        assert await asyncio.wait_for(waiting, 5) == Change("a", b"2", second)
        await asyncio.gather(*(store.get("a") for _ in range(20)))

        server.kill()  # and with it all tokens
        server.start()
        third = await until_committed(store, Put("a", b"3"))
        assert await take(watch, 1) == [Change("a", b"3", third)]
    await store.close()

    file = tmp_path / "password"
    file.write_text(f"{password}\n")
    store = await opened(f"etcd://master@{server.address}/mine?password_file={file}")
    assert contents(await store.list("")) == {"a": b"3"}
    await store.close()
    for address, message in (
        (f"etcd://master:wrong@{server.address}/mine", "check user and password"),
        (f"etcd://{server.address}/mine", "give a user and a password"),
        (f"{url.removesuffix('mine')}yours", "permission denied"),
    ):
        with pytest.raises(PermissionDenied, match=message) as caught:
            await opened(address)
        assert "wrong" not in str(caught.value)


async def test_a_user_for_an_etcd_that_knows_none(
    server: EtcdServer, opened: Callable[..., Any]
) -> None:
    store = await opened(f"etcd://someone:secret@{server.address}/{next(PREFIXES)}")
    await store.commit([Put("a", b"1")])
