"""Datagrams from friends and strangers, through a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from unittest.mock import patch

from piccolo.core.model import NodeState
from piccolo.core.nodes.pulse import ANSWER, NEVER, PULSE, SIZE, Pulse, decode, encode
from piccolo.master import pulse_server
from piccolo.master.sessions import Session
from piccolo.rpc import wire
from piccolo.rpc.datagram import Datagrams, Receive, bind
from tests.master.virtual_time import virtual_time
from tests.master.world import World, master


@dataclass(slots=True)
class Sender:
    world: World
    socket: socket.socket

    async def answers(self, *datagrams: bytes) -> list[bytes]:
        """What comes back."""
        for datagram in datagrams:
            self.socket.send(datagram)
        await asyncio.sleep(0.01)
        found = []
        while True:
            try:
                found.append(self.socket.recv(2048))
            except BlockingIOError:
                return found


def pulse(session: Session, seq: int, *, kind: int = PULSE, heard: int = 0) -> bytes:
    return encode(Pulse(kind, session.session_id, seq, heard), session.key)


@asynccontextmanager
async def listening() -> AsyncIterator[Sender]:
    bound: list[Datagrams] = []

    async def remember(host: str, port: int, receive: Receive) -> Datagrams:
        bound.append(await bind(host, port, receive))
        return bound[0]

    async with master() as world:
        with patch.object(pulse_server, "bind", remember):
            await world.cluster.pulses.start("127.0.0.1", 0)
        transport = bound[0]._transport
        assert transport is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(transport.get_extra_info("sockname"))
            yield Sender(world, sender)
        world.cluster.pulses.close()
        await asyncio.sleep(0)


@virtual_time(settle=0.003)
async def test_a_pulse_is_evidence_and_is_answered() -> None:
    async with listening() as s:
        session = await s.world.joined()
        for seq in (1, 2, 7):
            (answer,) = await s.answers(pulse(session, seq))
            assert decode(answer, session.key, ANSWER) == Pulse(ANSWER, session.session_id, seq, 0)
        # It keeps a node alive all by itself, until heartbeats are due.
        for seq in range(8, 28):
            await asyncio.sleep(1)
            await s.answers(pulse(session, seq))
        assert s.world.state_of()[0] is NodeState.READY
        assert s.world.cluster.state.live("id-n1").datagrams


@virtual_time(settle=0.003)
async def test_forged_replayed_and_foreign_datagrams_do_nothing() -> None:
    async with listening() as s:
        session = await s.world.joined()
        good = pulse(session, 5)
        assert len(await s.answers(good)) == 1
        flipped = [bytes([*good[:i], good[i] ^ 1, *good[i + 1 :]]) for i in range(SIZE)]
        nonsense = [
            b"",
            b"P",
            good[:-1],
            good + b"\0",
            os.urandom(SIZE),
            b"P" + os.urandom(SIZE - 1),
            os.urandom(1400),
            good,  # replayed
            pulse(session, 5, heard=1),  # the same number again
            pulse(session, 4),  # an older one
            pulse(session, 6, kind=ANSWER),  # our own answers come back
            encode(Pulse(PULSE, session.session_id, 6, 0), b"x" * 32),  # not its key
            encode(Pulse(PULSE, session.session_id + 1, 6, 0), session.key),  # no such session
        ]
        live, state = s.world.cluster.state.live("id-n1"), s.world.state_of()
        assert await s.answers(*flipped, *nonsense) == []
        assert session.pulse_seq == 5, "none of them uses up a number"
        for _ in range(8):
            await asyncio.sleep(0.5)
            assert await s.answers(*nonsense) == []
        assert s.world.state_of() == (NodeState.NOT_READY, "Silent"), "none is a sign of life"
        assert state == (NodeState.READY, "Synced")
        assert live.connected
        assert len(await s.answers(pulse(session, 6))) == 1
        assert s.world.state_of() == (NodeState.READY, "Recovered")


@virtual_time(settle=0.003)
async def test_probes_of_an_ended_session_are_answered_and_revive_nothing() -> None:
    async with listening() as s:
        session = await s.world.joined()
        s.world.disconnect(session)
        await asyncio.sleep(5)
        assert s.world.state_of() == (NodeState.NOT_READY, "ConnectionClosed")
        assert len(await s.answers(pulse(session, 1))) == 1
        assert s.world.state_of() == (NodeState.NOT_READY, "ConnectionClosed")
        assert not s.world.cluster.state.live("id-n1").connected

        await s.world.joined()
        assert await s.answers(pulse(session, 2)) == [], "it has a newer one"
        await s.world.cluster.remove("n1")
        assert await s.answers(pulse(session, 3)) == []


@virtual_time(settle=0.003)
async def test_a_node_that_does_not_hear_us_is_deaf() -> None:
    async with listening() as s:
        session = await s.world.joined()
        for seq in range(1, 12):
            await s.answers(pulse(session, seq, heard=NEVER if seq < 3 else seq * 500))
            await asyncio.sleep(0.5)
        assert s.world.state_of() == (NodeState.NOT_READY, "Deaf")


@virtual_time(settle=0.003)
async def test_a_pulse_on_the_stream_is_answered_on_the_stream() -> None:
    async with listening() as s:
        session = await s.world.joined()
        for seq in range(1, 11):
            await asyncio.sleep(1)
            s.world.cluster.pulses.on_stream(session, wire.StreamPulse(seq=seq))
            (message,) = session.drain()
            assert message.pulse == wire.StreamPulse(seq=seq, answer=True)
        assert s.world.state_of()[0] is NodeState.READY
        assert not s.world.cluster.state.live("id-n1").datagrams
