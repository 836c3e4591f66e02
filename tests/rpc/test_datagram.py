"""What a real socket keeps while nobody reads it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from piccolo.rpc.datagram import Source, bind

PULSES = 2000  # of 1,000 nodes in a second


@pytest.mark.needs_root  # others get what net.core.rmem_max allows
async def test_a_crowd_is_heard_after_a_second_in_which_nobody_listened() -> None:
    heard: list[bytes] = []

    def receive(datagram: bytes, source: Source) -> None:
        heard.append(datagram)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = await bind("127.0.0.1", port, receive)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as crowd:
            for _ in range(PULSES):
                crowd.sendto(b"x" * 34, ("127.0.0.1", port))
        async with asyncio.timeout(5):
            while len(heard) < PULSES:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        endpoint.close()
