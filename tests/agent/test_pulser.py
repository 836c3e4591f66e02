"""Pulses on time, over a real socket, whatever the other end does with them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from piccolo.agent import pulser as pulser_module
from piccolo.agent.pulser import Pulser
from piccolo.core.errors import Unavailable
from piccolo.core.nodes.liveness import PROFILES
from piccolo.core.nodes.pulse import ANSWER, PULSE, Pulse, decode, encode
from piccolo.rpc.datagram import Datagrams, Source, bind
from tests.agent.world import SETTLE
from tests.master.virtual_time import freeze, now, virtual_time

KEY = b"k" * 32
ID = 7
WIRED = PROFILES["wired"]


class Master:
    """Takes pulses in, and answers them or not."""

    def __init__(self) -> None:
        self.answers = True
        self.pulses: list[tuple[float, Pulse]] = []
        self.by_stream: list[tuple[float, int, int]] = []
        self.port = 0
        self._socket: Datagrams | None = None

    def received(self, datagram: bytes, source: Source) -> None:
        pulse = decode(datagram, KEY, PULSE)
        assert pulse is not None
        self.pulses.append((now(), pulse))
        if self.answers:
            self.answer(pulse.seq, source)

    def answer(self, seq: int, to: Source, *, kind: int = ANSWER, key: bytes = KEY) -> None:
        assert self._socket is not None
        self._socket.send(encode(Pulse(kind, ID, seq, 0), key), to)

    def streamed(self, seq: int, heard: int) -> None:
        self.by_stream.append((now(), seq, heard))

    def gaps(self) -> list[float]:
        return [b - a for (a, _), (b, _) in pairwise(self.pulses)]

    def forget(self) -> None:
        self.pulses.clear()
        self.by_stream.clear()


@asynccontextmanager
async def pulsing() -> AsyncIterator[tuple[Pulser, Master]]:
    master = Master()
    master._socket = await bind("127.0.0.1", 0, master.received)
    transport = master._socket._transport
    assert transport is not None
    master.port = transport.get_extra_info("sockname")[1]
    pulser = Pulser()
    running = asyncio.create_task(pulser.run())
    try:
        yield pulser, master
    finally:
        running.cancel()
        await asyncio.wait([running])
        pulser.close()
        master._socket.close()
        await asyncio.sleep(0.01)


async def begin(pulser: Pulser, master: Master, *, port: int | None = None) -> None:
    await pulser.begin(
        "127.0.0.1", master.port if port is None else port, ID, KEY, PROFILES["wired"]
    )
    pulser.by_stream = master.streamed


@virtual_time(settle=SETTLE)
async def test_answered_pulses_are_calm() -> None:
    async with pulsing() as (pulser, master):
        await asyncio.sleep(1)
        assert master.pulses == [], "nothing before there is a session"
        await begin(pulser, master)
        await asyncio.sleep(10)
        assert 19 <= len(master.pulses) <= 22
        assert all(gap == pytest.approx(WIRED.pulse_interval, abs=0.02) for gap in master.gaps())
        assert [p.seq for _, p in master.pulses] == list(range(1, len(master.pulses) + 1))
        assert master.by_stream == []
        assert pulser.pacer is not None
        assert pulser.pacer.rtt is not None
        assert pulser.pacer.rtt < 0.1
        assert all(p.heard_ms_ago <= 510 for _, p in master.pulses)
        assert not pulser.pacer.lost(asyncio.get_running_loop().time())


@virtual_time(settle=SETTLE)
async def test_unanswered_pulses_are_repeated_and_then_take_the_stream_as_well() -> None:
    async with pulsing() as (pulser, master):
        await begin(pulser, master)
        await asyncio.sleep(2)
        master.forget()
        master.answers = False
        began = now()
        await asyncio.sleep(4)
        assert min(master.gaps()) == pytest.approx(WIRED.pulse_retry, abs=0.01)
        assert len(master.pulses) > 20
        at, seq, heard = master.by_stream[0]
        fallback = WIRED.pulse_interval + 3 * WIRED.pulse_retry
        assert fallback - WIRED.pulse_interval < at - began < fallback + WIRED.pulse_retry
        assert heard >= int(fallback * 1000)
        assert seq in {p.seq for _, p in master.pulses}, "the same pulse on both ways"
        assert master.pulses[-1][1].heard_ms_ago > 3000
        master.answers = True
        await asyncio.sleep(1)
        master.forget()
        await asyncio.sleep(3)
        assert master.by_stream == []
        assert 5 <= len(master.pulses) <= 7


@pytest.mark.parametrize("why", ["no port", "no route", "nobody listens"])
def test_without_datagrams_pulses_take_the_stream(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @virtual_time(settle=SETTLE)
    async def run() -> None:
        async with pulsing() as (pulser, master):
            port = 0
            if why == "no route":
                port = 9

                async def unreachable(*_: object) -> Datagrams:
                    raise Unavailable("cannot reach it: network is unreachable")

                monkeypatch.setattr(pulser_module, "connect", unreachable)
            if why == "nobody listens":
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
                    free.bind(("127.0.0.1", 0))
                    port = free.getsockname()[1]
            await begin(pulser, master, port=port)
            await asyncio.sleep(10)
            assert len(master.by_stream) >= 19

    run()


@virtual_time(settle=SETTLE)
async def test_what_is_no_answer_changes_nothing() -> None:
    async with pulsing() as (pulser, master):
        await begin(pulser, master)
        master.answers = False
        await asyncio.sleep(1)
        assert pulser._socket is not None
        assert pulser._socket._transport is not None
        here = pulser._socket._transport.get_extra_info("sockname")
        master.answer(1, here, key=b"x" * 32)
        master.answer(1, here, kind=PULSE)
        master.answer(99, here)  # never sent
        assert master._socket is not None
        master._socket.send(b"", here)
        master._socket.send(encode(Pulse(ANSWER, ID + 1, 1, 0), KEY), here)
        await asyncio.sleep(0.05)
        assert not pulser.answered.is_set()
        master.answer(2, here)
        await asyncio.sleep(0.05)
        assert pulser.answered.is_set()
        pulser.answered.clear()
        master.answer(2, here)  # replayed
        master.answer(1, here)
        await asyncio.sleep(0.05)
        assert not pulser.answered.is_set()


@virtual_time(settle=SETTLE)
async def test_between_sessions_pulses_are_probes_for_two_minutes() -> None:
    async with pulsing() as (pulser, master):
        await begin(pulser, master)
        await asyncio.sleep(1)
        pulser.end()
        master.answers = False
        await asyncio.sleep(11)  # so long they go on as before: the master is to see it live
        master.forget()
        await asyncio.sleep(60)
        assert all(gap >= 0.49 for gap in master.gaps())
        assert len(master.pulses) > 100
        assert master.by_stream == [], "there is no stream"
        pulser.answered.clear()
        master.answers = True
        async with asyncio.timeout(0.6):
            await pulser.answered.wait()
        await asyncio.sleep(55)
        master.forget()
        await asyncio.sleep(60)
        assert master.pulses == [], "it is enough"
        await begin(pulser, master)
        await asyncio.sleep(1)
        assert [p.seq for _, p in master.pulses][:2] == [1, 2], "a new session counts anew"


@virtual_time(settle=SETTLE)
async def test_an_agent_that_was_frozen_does_not_blame_the_master() -> None:
    async with pulsing() as (pulser, master):
        await begin(pulser, master)
        await asyncio.sleep(3)
        assert pulser.pacer is not None
        freeze(30)
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        assert not pulser.pacer.lost(loop.time())
        assert pulser.worst_lag > 29
        await asyncio.sleep(2)
        assert not pulser.pacer.lost(loop.time())
        master.answers = False
        await asyncio.sleep(5)
        assert pulser.pacer.lost(loop.time())
