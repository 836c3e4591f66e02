"""Everything here runs on both event loops: PICCOLO does, and their TLS differs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from tests.rpc.ground import Ground


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    try:
        import uvloop
    except ImportError:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """A server with the default limits."""
    async with Ground() as ground:
        yield ground
