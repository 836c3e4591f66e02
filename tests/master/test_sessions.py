"""The agents' connections: generations, fencing, and calls to an agent."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from piccolo.core.errors import StaleGeneration, Unavailable
from piccolo.master.sessions import Session, Sessions
from piccolo.rpc import wire
from tests.master.memory_store import Disk
from tests.master.virtual_time import freeze, now, virtual_time
from tests.master.world import master


def health() -> wire.Call:
    return wire.Call(health=wire.HealthCheck())


def call(sessions: Sessions, timeout: float = 5.0) -> asyncio.Task[wire.CallResult]:
    return asyncio.create_task(sessions.call("n1", health, timeout))


async def asked(session: Session) -> wire.Call:
    """The next call that the agent hears of."""
    while True:
        message = await session.next_outgoing()
        if message.call is not None:
            return message.call


# ---- generations ----


def test_generations_grow_across_epochs() -> None:
    generations = [
        sessions.open(node, "i", "p").generation
        for sessions in (Sessions(epoch) for epoch in (1, 2, 7))
        for node in ("n1", "n2", "n1")
    ]
    assert all(a < b for a, b in itertools.pairwise(generations))
    assert all(g < 2**63 for g in generations)


@virtual_time
async def test_each_life_of_a_master_is_an_epoch_of_its_own() -> None:
    disk = Disk()
    generations = []
    for _ in range(3):
        async with master(disk) as world:
            generations.append((await world.joined()).generation)
            assert world.cluster.state.live("id-n1").generation == generations[-1]
    assert [g >> 32 for g in generations] == [1, 2, 3]


# ---- fencing ----


async def test_a_newer_session_fences_the_older() -> None:
    sessions = Sessions(1)
    old, other = sessions.open("n1", "a", "p"), sessions.open("n2", "a", "p")
    sessions.check("n1", old.generation)
    new = sessions.open("n1", "b", "p")
    assert old.ended.is_set()
    goodbye = [m.goodbye for m in old.drain()]
    assert [(g.reason, g.final) for g in goodbye if g] == [("Replaced", False)]
    with pytest.raises(StaleGeneration, match="open a new session"):
        sessions.check("n1", old.generation)
    sessions.check("n1", new.generation)
    sessions.check("n2", other.generation)

    sessions.close(old)  # its handler ends last
    assert sessions.of_node("n1") is new
    assert sessions.all() == [other, new]


async def test_an_ended_session_is_current_no_more() -> None:
    sessions = Sessions(1)
    session = sessions.open("n1", "a", "p")
    sessions.close(session)
    assert sessions.of_node("n1") is None
    with pytest.raises(StaleGeneration):
        sessions.check("n1", session.generation)
    with pytest.raises(StaleGeneration):
        sessions.check("n9", session.generation)


async def test_a_session_is_found_by_its_id_until_it_is_replaced() -> None:
    sessions = Sessions(1)
    old = sessions.open("n1", "a", "p")
    sessions.close(old)
    assert sessions.by_id(old.session_id) is old, "its probes are still answered"
    new = sessions.open("n1", "b", "p")
    assert sessions.by_id(old.session_id) is None
    assert sessions.by_id(new.session_id) is new
    sessions.forget("n1")
    assert sessions.by_id(new.session_id) is None
    sessions.forget("n1")
    sessions.close(new)
    assert sessions.all() == []


def test_keys_and_ids_are_secrets_of_each_session() -> None:
    sessions = Sessions(1)
    opened = [sessions.open("n1", "a", "p") for _ in range(50)]
    assert len({s.session_id for s in opened}) == len({s.key for s in opened}) == 50
    assert all(len(s.key) == 32 for s in opened)
    assert opened[0].key.hex() not in repr(opened[0])
    assert repr(opened[0].key) not in repr(opened[0])


# ---- messages ----


async def test_messages_are_numbered_and_leave_in_order() -> None:
    session = Sessions(1).open("n1", "a", "p")
    for _ in range(3):
        session.send(wire.MasterMessage(heartbeat_ack=wire.HeartbeatAck()))
    assert [(await session.next_outgoing()).seq] + [m.seq for m in session.drain()] == [1, 2, 3]
    assert session.drain() == []


async def test_an_agent_that_takes_nothing_loses_its_session() -> None:
    session = Sessions(1).open("n1", "a", "p")
    for _ in range(256):
        session.send(wire.MasterMessage())
    assert not session.ended.is_set()
    session.send(wire.MasterMessage())
    assert session.ended.is_set()
    session.send(wire.MasterMessage())  # nobody minds
    assert len(session.drain()) == 256


# ---- calls ----


@virtual_time
async def test_a_call_is_answered() -> None:
    sessions = Sessions(1)
    session = sessions.open("n1", "a", "p")
    first, second = call(sessions), call(sessions)
    calls = [await asked(session), await asked(session)]
    assert calls[0].call_id != calls[1].call_id
    assert calls[0].deadline_ms == 5000
    session.answered(wire.CallResult(call_id=99))  # never asked
    session.answered(wire.CallResult(call_id=calls[1].call_id, error="two"))
    session.answered(wire.CallResult(call_id=calls[0].call_id, error="one"))
    session.answered(wire.CallResult(call_id=calls[0].call_id, error="again"))
    assert ((await first).error, (await second).error) == ("one", "two")
    session.answered(wire.CallResult(call_id=calls[0].call_id, error="late"))


@virtual_time
async def test_a_call_without_an_answer_ends_in_time() -> None:
    sessions = Sessions(1)
    session = sessions.open("n1", "a", "p")
    with pytest.raises(Unavailable, match="did not answer within 5 s"):
        await call(sessions)
    assert now() == 5
    session.answered(wire.CallResult(call_id=(await asked(session)).call_id))


@virtual_time
async def test_a_node_that_is_away_is_waited_for() -> None:
    sessions = Sessions(1)
    with pytest.raises(Unavailable, match="not connected within 2 s"):
        await call(sessions, 2)
    assert 1.8 <= now() <= 2.2
    waiting = call(sessions)
    await asyncio.sleep(1)
    session = sessions.open("n1", "a", "p")
    request = await asked(session)
    assert request.deadline_ms <= 4100, "what is left of the time"
    session.answered(wire.CallResult(call_id=request.call_id, error="here"))
    assert (await waiting).error == "here"


@pytest.mark.parametrize("how", ["closed", "replaced", "overflowed"])
@virtual_time
async def test_a_call_goes_on_in_the_next_session(how: str) -> None:
    sessions = Sessions(1)
    session = sessions.open("n1", "a", "p")
    waiting = call(sessions)
    await asked(session)
    if how == "closed":
        sessions.close(session)
        await asyncio.sleep(1)
    elif how == "overflowed":  # the handler still has to close it
        session.end()
        await asyncio.sleep(1)
    session = sessions.open("n1", "a", "p")
    async with asyncio.timeout(1):
        request = await asked(session)
    session.answered(wire.CallResult(call_id=request.call_id, error="here"))
    assert (await waiting).error == "here"


@virtual_time
async def test_a_call_by_a_master_that_was_held_up_harms_no_session() -> None:
    """Its deadline on the wire is never negative: there it would be for ever."""
    sessions = Sessions(1)
    waiting = call(sessions, 0.15)
    await asyncio.sleep(0.01)
    freeze(1)
    session = sessions.open("n1", "a", "p")
    with pytest.raises(Unavailable):
        await waiting
    sent = [wire.MasterMessage.FromString(bytes(m)).call for m in session.drain()]
    assert [c.deadline_ms for c in sent if c] == [0]


@virtual_time
async def test_a_cancelled_call_leaves_nothing() -> None:
    sessions = Sessions(1)
    session = sessions.open("n1", "a", "p")
    waiting = call(sessions)
    request = await asked(session)
    waiting.cancel()
    await asyncio.wait([waiting])
    session.answered(wire.CallResult(call_id=request.call_id))
    session.end()
