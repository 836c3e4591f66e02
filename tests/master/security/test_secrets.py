"""Secrets: kept, replaced, deleted, and never shown."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from piccolo.core.errors import Conflict, InvalidSpec, NotFound, PiccoloError
from piccolo.core.security.access import Principal, Role
from piccolo.master import keys
from piccolo.master.api_server.secret_calls import SecretCalls
from piccolo.master.clock import Clock
from piccolo.master.security import secrets as secrets_module
from piccolo.master.security.secrets import MAX_BYTES, MAX_KEYS, Secrets
from piccolo.master.state_manager import StateManager
from piccolo.rpc import server, wire
from piccolo.security.keyring import KeyRing
from piccolo.store.mirror import MirroredStore
from piccolo.store.sealed import SealedStore
from piccolo.store.seals import key_id
from piccolo.store.sqlite import open_sqlite

VALUE = b"s3cr3t \x00\xff bytes"


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateManager]:
    engine = await open_sqlite(tmp_path)
    sealed = await SealedStore.open(engine, KeyRing.load(tmp_path, {}), everything=False)
    mirror = await MirroredStore.load(sealed)
    running = asyncio.create_task(mirror.run())
    await asyncio.sleep(0)
    manager = StateManager(mirror)
    await manager.load()
    yield manager
    await mirror.close()
    await running


@pytest.fixture
def secrets(state: StateManager) -> Secrets:
    return Secrets(state, Clock())


@pytest.fixture
def calls(state: StateManager) -> SecretCalls:
    calls = SecretCalls()
    cluster: Any = SimpleNamespace(state=state, clock=Clock())
    calls._c = cluster
    server._caller.set(server.Caller("10.0.0.9:4000", Principal(Role.ADMIN, "ada")))
    return calls


def files(directory: Path) -> list[bytes]:
    found = [file.read_bytes() for file in directory.glob("store.db*")]
    assert found
    return found


async def put(calls: SecretCalls, name: str = "wifi", **fields: Any) -> wire.Secret:
    values: dict[str, Any] = {"data": {"password": VALUE}, **fields}
    reply = await calls.put_secret(wire.PutSecretRequest(name=name, **values))
    assert reply.secret is not None
    return reply.secret


async def test_a_secret_is_kept_encrypted_and_its_values_are_not_shown(
    calls: SecretCalls, state: StateManager, tmp_path: Path
) -> None:
    made = await put(calls, data={"password": VALUE, "user": b"ada"})
    assert (made.name, made.keys) == ("wifi", ["password", "user"])
    [listed] = (await calls.get_secrets(wire.GetSecretsRequest())).secrets
    assert listed == made
    assert listed.revision == state.revision_of("secret/wifi") > 0
    kept = state.group(keys.SECRET)["secret/wifi"]
    assert base64.b64decode(kept.data["password"]) == VALUE
    backing = state.store.backing
    assert isinstance(backing, SealedStore)
    entry = await backing._engine.get("secret/wifi")
    assert entry is not None
    assert key_id(entry.value) is not None
    coded = base64.b64encode(VALUE)
    assert not any(VALUE in data or coded in data for data in files(tmp_path))
    for shown in (repr(kept), repr(listed), bytes(listed).decode("latin1")):
        assert "s3cr3t" not in shown
        assert coded.decode() not in shown


async def test_a_secret_is_replaced_only_when_that_is_wanted(calls: SecretCalls) -> None:
    first = await put(calls)
    with pytest.raises(Conflict, match="already; --replace"):
        await put(calls, data={"other": b"1"})
    second = await put(calls, data={"other": b"1"}, replace=True)
    assert second.keys == ["other"]
    assert first.created_at == second.created_at
    assert first.changed_at is not None
    assert second.changed_at is not None
    assert second.changed_at > first.changed_at
    assert second.revision > first.revision
    fresh = await put(calls, "new", replace=True)  # nothing to replace is no error
    assert fresh.created_at == fresh.changed_at


async def test_of_two_at_once_one_learns_of_it(calls: SecretCalls) -> None:
    outcomes = await asyncio.gather(put(calls), put(calls), return_exceptions=True)
    assert sorted(type(o) is wire.Secret for o in outcomes) == [False, True]
    assert any(isinstance(o, Conflict) for o in outcomes)


async def test_a_deleted_secret_is_gone(calls: SecretCalls, state: StateManager) -> None:
    made = await put(calls)
    reply = await calls.delete_secret(wire.DeleteSecretRequest(name="wifi"))
    assert reply.secret == made
    assert (await calls.get_secrets(wire.GetSecretsRequest())).secrets == []
    backing = state.store.backing
    assert (await backing.list("secret/")).entries == ()
    with pytest.raises(NotFound, match='there is no secret "wifi"'):
        await calls.delete_secret(wire.DeleteSecretRequest(name="wifi"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("", {"a": VALUE}, "is not a name"),
        ("Wifi", {"a": VALUE}, "is not a name"),
        ("../node", {"a": VALUE}, "is not a name"),
        ("wifi", {}, "has no values"),
        ("wifi", {"": VALUE}, "key 1 of"),
        ("wifi", {"ok": b"", "s3cr3t/": VALUE}, "key 2 of"),
        ("wifi", {"..": VALUE}, "key 1 of"),
        ("wifi", {"s3cr3t\n": VALUE}, "key 1 of"),
        ("wifi", {"x" * 254: VALUE}, "key 1 of"),
        ("wifi", {f"k{n}": b"" for n in range(MAX_KEYS + 1)}, "at most 128"),
        ("wifi", {"ab": bytes(MAX_BYTES - 1)}, "at most 262144"),
        ("wifi", {"a": bytes(MAX_BYTES // 2), "b": bytes(MAX_BYTES // 2)}, "at most 262144"),
    ],
)
async def test_what_is_no_secret_is_refused_without_showing_it(
    calls: SecretCalls, name: str, data: dict[str, bytes], message: str
) -> None:
    with pytest.raises(InvalidSpec, match=message) as caught:
        await put(calls, name, data=data)
    assert "s3cr3t" not in str(caught.value)
    assert (await calls.get_secrets(wire.GetSecretsRequest())).secrets == []


async def test_the_largest_secret_is_taken(calls: SecretCalls) -> None:
    data = {f"k{n:03}": b"" for n in range(MAX_KEYS - 1)} | {"x" * 253: b""}
    data["k000"] = bytes(MAX_BYTES - sum(map(len, data)))
    assert len((await put(calls, data=data)).keys) == MAX_KEYS


async def test_there_is_an_end_to_them(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets_module, "MAX_SECRETS", 2)
    for name in ("a", "b"):
        await secrets.put(name, {"k": b""}, replace=False)
    with pytest.raises(InvalidSpec, match="2 secrets already"):
        await secrets.put("c", {"k": b""}, replace=False)
    await secrets.put("b", {"k": b"1"}, replace=True)


async def test_the_audit_trail_learns_the_name_and_no_value(
    calls: SecretCalls, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await put(calls)
    assert server.caller().subject == "secret wifi"
    with pytest.raises(PiccoloError):
        await calls.delete_secret(wire.DeleteSecretRequest(name="other"))
    assert server.caller().subject == "secret other"
    assert "s3cr3t" not in caplog.text


async def test_the_key_of_the_store_is_rotated(
    calls: SecretCalls, state: StateManager, tmp_path: Path
) -> None:
    await put(calls)
    before = (await calls.get_secrets(wire.GetSecretsRequest())).secrets
    reply = await calls.rotate_store_key(wire.RotateStoreKeyRequest())
    assert [i.hex() for i in KeyRing.load(tmp_path, {}).ids] == [reply.key_id]
    assert reply.values == 1
    assert server.caller().subject == f"store key {reply.key_id}"
    assert (await calls.get_secrets(wire.GetSecretsRequest())).secrets == before
    await put(calls, data={"a": b""}, replace=True)


async def test_a_store_without_a_key_has_none_to_rotate(tmp_path: Path) -> None:
    mirror = await MirroredStore.load(await open_sqlite(tmp_path))
    calls = SecretCalls()
    cluster: Any = SimpleNamespace(state=StateManager(mirror), clock=Clock())
    calls._c = cluster
    with pytest.raises(InvalidSpec, match="not encrypted"):
        await calls.rotate_store_key(wire.RotateStoreKeyRequest())
    await mirror.close()
