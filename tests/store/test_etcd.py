from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from piccolo.store.base import Store
from piccolo.store.etcd import open_etcd
from tests.store.contract import StoreContract
from tests.store.etcd_server import EtcdServer

pytestmark = pytest.mark.needs_etcd

PREFIXES = (f"test{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd") / "m0")
    server.start()
    yield server
    server.kill()


class EtcdEngine:
    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> Store:
        return await open_etcd(self.url, ttl=1)


@pytest.fixture
def engine(server: EtcdServer) -> EtcdEngine:
    return EtcdEngine(f"etcd://{server.address}/{next(PREFIXES)}")


class TestContract(StoreContract):
    pass
