"""The contract, on the fake and on real Podman."""

from __future__ import annotations

import pytest

from tests.runtime.contract import RuntimeContract, World
from tests.runtime.worlds import FakeWorld, PodmanWorld


class TestFake(RuntimeContract):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()


@pytest.mark.needs_root
@pytest.mark.needs_podman
class TestPodman(RuntimeContract):
    @pytest.fixture
    def world(self, podman_world: PodmanWorld) -> World:
        return podman_world
