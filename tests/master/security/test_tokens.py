"""Join tokens on the master."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from piccolo.core.errors import InvalidSpec, NotFound, PermissionDenied
from piccolo.core.model import NodeType, TokenUse
from piccolo.core.security.token import JoinToken, fingerprint
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.security.tokens import REFUSED, Tokens
from piccolo.master.state_manager import StateManager
from piccolo.store.mirror import MirroredStore
from tests.master.memory_store import Disk
from tests.master.virtual_time import utc, virtual_time

PIN = fingerprint(b"ca")
EMBEDDED = NodeType.EMBEDDED


class World:
    def __init__(self, state: StateManager) -> None:
        self.state = state
        self.tokens = Tokens(state, Clock(asyncio.get_running_loop().time, utc))

    async def shown(
        self, text: str, name: str = "n1", key: str = "SHA256:k", type: NodeType = EMBEDDED
    ) -> list[TokenUse]:
        """A node shows a token, and its use is stored: all its uses."""
        use = TokenUse(f"id-{name}", name, key)
        token, used = self.tokens.check(text, use=use, type=type)
        await self.state.commit({**used})
        return self.tokens.uses(token)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    mirror = await MirroredStore.load(await Disk().open(), on_degraded=lambda reason: None)
    yield World(StateManager(mirror))
    await mirror.close()


async def test_a_token_lets_one_node_in(world: World) -> None:
    _, text = await world.tokens.create(PIN, by="admin:admin")
    assert [use.node_name for use in await world.shown(text.text)] == ["n1"]
    with pytest.raises(PermissionDenied) as refused:
        await world.shown(text.text, "n2", "SHA256:other")
    assert str(refused.value) == REFUSED
    assert "used up, by n1" in refused.value.why


async def test_a_lost_reply_may_be_asked_for_again(world: World) -> None:
    _, text = await world.tokens.create(PIN)
    first = await world.shown(text.text)
    assert await world.shown(text.text) == first
    with pytest.raises(PermissionDenied):  # the same node, says somebody with another key
        await world.shown(text.text, key="SHA256:other")


async def test_a_removed_node_cannot_use_its_token_again(world: World) -> None:
    _, once = await world.tokens.create(PIN)
    _, twice = await world.tokens.create(PIN, uses=2)
    use = TokenUse("id-n1", "n1", "SHA256:k")
    for text in (once.text, twice.text):
        await world.shown(text)
    with pytest.raises(PermissionDenied) as refused:
        world.tokens.check(once.text, use=use, type=EMBEDDED, removed=True)
    assert "used up, by n1" in refused.value.why
    token, again = world.tokens.check(twice.text, use=use, type=EMBEDDED, removed=True)
    assert list(again) == [keys.token_use(token.id, 1)]


async def test_a_token_with_several_uses(world: World) -> None:
    _, text = await world.tokens.create(PIN, uses=2)
    await world.shown(text.text, "n1", "1")
    await world.shown(text.text, "n2", "2")
    with pytest.raises(PermissionDenied):
        await world.shown(text.text, "n3", "3")


async def test_only_a_hash_is_kept(world: World) -> None:
    token, text = await world.tokens.create(PIN)
    entry = await world.state._store.list("token/")
    assert text.secret.encode() not in entry.entries[0].value
    assert token.hash.encode() in entry.entries[0].value


def forged(token: JoinToken) -> str:
    return JoinToken(token.id, "A" * 24, PIN).text


@virtual_time
async def test_what_is_wrong_is_told_apart_only_in_the_trail() -> None:
    mirror = await MirroredStore.load(await Disk().open(), on_degraded=lambda reason: None)
    world = World(StateManager(mirror))
    _, expired = await world.tokens.create(PIN, ttl=timedelta(hours=1))
    _, revoked = await world.tokens.create(PIN)
    await world.tokens.revoke(revoked.id)
    _, other = await world.tokens.create(PIN, node="front")
    _, cloud = await world.tokens.create(PIN, type=NodeType.CLOUD)
    await asyncio.sleep(3600)
    whys = {}
    for name, text in {
        "expired": expired.text,
        "revoked": revoked.text,
        "made for node front": other.text,
        "made for cloud nodes": cloud.text,
        "wrong secret": forged(cloud),
        "unknown token": JoinToken.make(b"x" * 23, PIN).text,
        "malformed": "piccolo1.nonsense",
    }.items():
        with pytest.raises(PermissionDenied) as refused:
            await world.shown(text)
        assert str(refused.value) == REFUSED, name
        assert name in refused.value.why
        whys[name] = refused.value.why
    assert len(set(whys.values())) == len(whys)
    assert not any(t.secret in why for t in (expired, revoked, other) for why in whys.values())
    await mirror.close()


async def test_a_token_for_one_node(world: World) -> None:
    _, text = await world.tokens.create(PIN, node="n1")
    with pytest.raises(PermissionDenied):
        await world.shown(text.text, "n2")
    await world.shown(text.text, "n1")


async def test_ended_tokens_are_forgotten_after_a_while(world: World) -> None:
    old, text = await world.tokens.create(PIN, ttl=timedelta(seconds=1))
    await world.shown(text.text)
    clock = world.tokens._clock
    later = Clock(clock.monotonic, lambda: utc() + timedelta(days=8))
    world.tokens._clock = later
    new, _ = await world.tokens.create(PIN)
    assert [t.id for t in world.tokens.all()] == [new.id]
    assert old.id != new.id
    assert world.tokens.uses(old) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": timedelta(0)},
        {"ttl": timedelta(days=-1)},
        {"ttl": timedelta(days=400)},
        {"uses": 0},
        {"uses": 10_001},
        {"uses": 2, "node": "n1"},
    ],
)
async def test_tokens_that_cannot_be(world: World, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidSpec):
        await world.tokens.create(PIN, **wrong)  # type: ignore[arg-type]
    assert world.tokens.all() == []


async def test_revoking_what_is_not_there(world: World) -> None:
    with pytest.raises(NotFound, match="token list"):
        await world.tokens.revoke("nothing")
