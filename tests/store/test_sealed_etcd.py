"""Encryption at rest in a real etcd, and all that protects an etcd at once: TLS, users, `all`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from piccolo.config.settings import MasterSettings
from piccolo.core.errors import Compacted, Conflict, InvalidSpec, PermissionDenied, Unavailable
from piccolo.roles import master as role
from piccolo.security.keyring import KeyRing
from piccolo.store.base import Condition, Put, Store
from piccolo.store.etcd import open_etcd
from piccolo.store.mirror import EPOCH_KEY, MirroredStore
from piccolo.store.sealed import SealedStore
from piccolo.store.seals import key_id
from tests.store.certificates import Authority
from tests.store.contract import StoreContract, contents, take, watching
from tests.store.etcd_server import EtcdServer

pytestmark = pytest.mark.needs_etcd

PREFIXES = (f"sealed{number}" for number in itertools.count())
SECRET, NODE = b'"correct horse battery staple"', b'{"name":"a node that nobody else knows"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd") / "sealed")
    server.start()
    yield server
    server.kill()


class SealedEtcd:
    def __init__(self, url: str, directory: Path, everything: bool) -> None:
        self.url, self.directory, self.everything = url, directory, everything

    async def open(self) -> Store:
        engine = await open_etcd(self.url, ttl=1)
        try:
            ring = KeyRing.load(self.directory, {})
            return await SealedStore.open(engine, ring, everything=self.everything)
        except BaseException:
            await engine.close()
            raise


@pytest.mark.parametrize("everything", [False, True], ids=["secrets", "all"])
class TestContract(StoreContract):
    @pytest.fixture
    def engine(self, server: EtcdServer, tmp_path: Path, everything: bool) -> SealedEtcd:
        return SealedEtcd(f"etcd://{server.address}/{next(PREFIXES)}", tmp_path, everything)


async def test_the_key_is_rotated_below_a_mirror(
    server: EtcdServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = next(PREFIXES)
    engine = SealedEtcd(f"etcd://{server.address}/{prefix}", tmp_path, True)
    store = await engine.open()
    assert isinstance(store, SealedStore)
    mirror = await MirroredStore.load(store)
    running = asyncio.create_task(mirror.run())
    await asyncio.sleep(0)
    await mirror.commit([Put("secret/a", SECRET), *(Put(f"node/{n}", NODE) for n in range(120))])
    large = await mirror.commit([Put(f"big/{n}", bytes(250_000)) for n in range(5)])
    before = await mirror.list("")
    start = (await store.list("")).revision - 1
    for _ in range(2):
        await store.rotate(mirror.rewrite)
    assert await mirror.list("") == before
    await mirror.commit([Put("node/1", b"2")], [Condition("big/1", large)])
    [id] = KeyRing.load(tmp_path, {}).ids
    raw = contents(await store._engine.list(""))
    assert {key_id(value) for value in raw.values()} == {id}
    assert EPOCH_KEY in raw
    assert "etcdctl defrag" in caplog.text
    with pytest.raises(Compacted, match="list again"):  # no key opens these changes any more
        async with watching(store, "", start) as changes:
            await take(changes, 1)
    await mirror.close()
    await running
    store = await engine.open()
    assert contents(await store.list("secret/")) == {"secret/a": SECRET}
    await store.close()


async def test_encrypting_what_is_in_etcd_already(server: EtcdServer, tmp_path: Path) -> None:
    prefix = next(PREFIXES)
    url = f"etcd://{server.address}/{prefix}"
    store = await SealedEtcd(url, tmp_path, False).open()
    for first in (0, 100):
        await store.commit([Put(f"node/{n}", NODE) for n in range(first, first + 100)])
    await store.close()
    assert NODE.decode() in server.ctl("get", "--prefix", f"/{prefix}/data/")
    store = await SealedEtcd(url, tmp_path, True).open()
    assert set(contents(await store.list("")).values()) == {NODE}
    await store.close()
    shown = server.ctl("get", "--prefix", f"/{prefix}/data/", "-w", "json")
    assert shown.count('"mod_revision"') == 200
    engine = await open_etcd(url, ttl=1)
    assert all(key_id(v) for v in contents(await engine.list("")).values())
    await engine.close()
    other = SealedEtcd(url, tmp_path / "other", True)
    with pytest.raises(InvalidSpec, match='"node/0" and 199 others needs the store key'):
        await other.open()


@pytest.mark.slow
async def test_tls_and_users_and_encryption_at_once(tmp_path: Path) -> None:
    """What `store: etcds://…` with `encrypt: all` gives a master, against etcd at its strictest."""
    authority = Authority(tmp_path / "pki-of-etcd")
    cert, key = authority.issue("server")
    mine, my_key = authority.issue("client")
    server = EtcdServer(
        tmp_path / "etcd",
        f"--cert-file={cert}",
        f"--key-file={key}",
        f"--trusted-ca-file={authority.ca}",
        "--client-cert-auth",
        "--auth-token-ttl=1",
        "--bcrypt-cost=4",
        scheme="https",
    )
    server.start()
    tls = (f"--cacert={authority.ca}", f"--cert={mine}", f"--key={my_key}")
    password = tmp_path / "password"
    password.write_text("p@ss:wörd/#\n")

    def settings(
        *, user: str = "master@", options: str = f"&password_file={password}", encrypt: str = "all"
    ) -> MasterSettings:
        query = f"ca={authority.ca}&cert={mine}&key={my_key}{options}"
        store = f"etcds://{user}{server.address}/mine?{query}"
        return MasterSettings(data_dir=str(tmp_path / "data"), store=store, encrypt=encrypt)

    try:
        for arguments in (
            ("user", "add", "root:secret"),
            ("user", "grant-role", "root", "root"),
            ("role", "add", "piccolo"),
            ("role", "grant-permission", "piccolo", "--prefix=true", "readwrite", "/mine/"),
            ("user", "add", "master:p@ss:wörd/#"),
            ("user", "grant-role", "master", "piccolo"),
            ("auth", "enable"),
        ):
            server.ctl(*tls, *arguments)

        store, name = await role._open_store(settings())
        assert "wörd" not in name
        assert name.endswith(", encrypted")
        mirror = await MirroredStore.load(store)
        running = asyncio.create_task(mirror.run())
        await asyncio.sleep(0)
        revision = await mirror.commit([Put("secret/a", SECRET), Put("node/a", NODE)])
        async with watching(mirror, "", revision) as changes:
            await asyncio.sleep(2.1)  # the token is forgotten by now
            mirror.observe("node/b", NODE)
            await mirror.commit([Put("node/a", b"2")], [Condition("node/a", revision)])
            assert {c.key for c in await take(changes, 2)} == {"node/a", "node/b"}
        with pytest.raises(Conflict, match="held by process"):
            await role._open_store(settings())
        assert isinstance(store, SealedStore)
        await store.rotate(mirror.rewrite)
        await mirror.close()
        await running

        root = (*tls, "--user=root:secret")
        shown = server.ctl(*root, "get", "--prefix", "/mine/data/", "--hex")
        assert SECRET.hex(" ") not in shown.lower().replace("\\x", " ")
        dumped = b"".join(p.read_bytes() for p in (tmp_path / "etcd").rglob("*") if p.is_file())
        assert b"battery" not in dumped
        assert b"nobody else knows" not in dumped
        assert b"/mine/data/node/a" in dumped  # that was the right place to look

        store, _ = await role._open_store(settings(encrypt="secrets"))
        assert contents(await store.list("node/")) == {"node/a": b"2", "node/b": NODE}
        assert contents(await store.list("secret/")) == {"secret/a": SECRET}
        await store.close()

        stranger = Authority(tmp_path / "stranger")
        bad, bad_key = stranger.issue("client")
        with pytest.raises(PermissionDenied, match="check user and password"):
            await role._open_store(settings(user="master:wrong@", options=""))
        no_tls = MasterSettings(
            data_dir=str(tmp_path / "data"),
            store=f"etcds://master@{server.address}/mine?ca={authority.ca}&cert={bad}"
            f"&key={bad_key}&password_file={password}",
        )
        with pytest.raises(Unavailable, match="etcd at"):
            await role._open_store(no_tls)
    finally:
        server.kill()
