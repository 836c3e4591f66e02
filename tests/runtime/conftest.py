"""Real Podman for the tests of the runtime: one node for all, cleared after each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest

from tests.lab.net import Network
from tests.lab.podman import PodmanNode
from tests.runtime.worlds import PodmanWorld

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_loops: runs on asyncio's own loop and on uvloop")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, LoopFactory]:
    """What asks for it is tested on both loops, the rest on the one that agents use."""
    loops: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:  # there are machines without it, see pyproject.toml
        return loops
    if item.get_closest_marker("both_loops"):
        return {**loops, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def podman_node() -> Iterator[PodmanNode]:
    with Network() as network:
        node = PodmanNode(network.site, network.add_host("node"))
        node.start_service()
        node.import_image()
        empty = node.host.dir / "empty.tar"
        empty.write_bytes(bytes(10240))
        node.podman("import", "--arch=s390x", str(empty), PodmanWorld.foreign_image)
        yield node


@pytest.fixture
async def podman_world(podman_node: PodmanNode) -> AsyncIterator[PodmanWorld]:
    world = PodmanWorld(podman_node)
    yield world
    await world.clear()
