"""The store that the master's tests stand on keeps what all stores promise."""

from __future__ import annotations

import pytest

from tests.master.memory_store import Disk
from tests.store.contract import StoreContract


@pytest.fixture
def engine() -> Disk:
    return Disk()


class TestContract(StoreContract):
    pass
