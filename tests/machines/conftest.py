"""Machines for the tests of this directory: two for each file, gone after it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import net, podman
from tests.lab.net import Network
from tests.machines import tree


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A hub for machines. Where none can be made the test is skipped; in CI, as root, it fails."""
    if lacking := [*net.missing(), *podman.missing(), *tree.missing()]:
        why = f"no machines can be booted here without {', '.join(lacking)}: ./dev test --machines"
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    with Network() as network:
        yield network
