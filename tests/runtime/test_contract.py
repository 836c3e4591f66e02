"""The contract, on the fake and on real Podman."""

from __future__ import annotations

import pytest

from tests.runtime.contract import RuntimeContract, World
from tests.runtime.contract_changes import ChangesContract, ChangingWorld
from tests.runtime.worlds import FakeWorld, PodmanWorld


class TestFake(RuntimeContract):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()


class TestFakeChanges(ChangesContract):
    @pytest.fixture
    def world(self) -> ChangingWorld:
        return FakeWorld()


@pytest.mark.needs_root
@pytest.mark.needs_podman
class TestPodman(RuntimeContract):
    @pytest.fixture
    def world(self, podman_world: PodmanWorld) -> World:
        return podman_world


@pytest.mark.slow
@pytest.mark.needs_root
@pytest.mark.needs_podman
class TestPodmanChanges(ChangesContract):
    @pytest.fixture
    def world(self, podman_world: PodmanWorld) -> ChangingWorld:
        return podman_world
