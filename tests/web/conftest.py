"""The server runs on both event loops: PICCOLO does, and their TLS differs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from tests.web.shop import Shop


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    try:
        import uvloop
    except ImportError:
        return {"asyncio": asyncio.new_event_loop}
    both = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return both if item.path.name == "test_server.py" else {"uvloop": both["uvloop"]}


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """With a bundle for amd64."""
    async with Shop(tmp_path / "bundles") as shop:
        shop.put()
        yield shop
