"""The store that the master's tests stand on keeps what all stores promise."""

from __future__ import annotations

import pytest

from piccolo.store.base import Store
from tests.master.memory_store import MemoryStore
from tests.store.contract import StoreContract


class MemoryEngine:
    async def open(self) -> Store:
        return MemoryStore()


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


class TestContract(StoreContract):
    pass
