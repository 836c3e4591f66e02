"""Machines and bundles for the tests of the installers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging import fake_bundle
from tests.packaging.fake_machine import FakeMachine


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked, and packed beside it. Not to be changed."""
    bundle = fake_bundle.make(tmp_path_factory.mktemp("bundle"))
    fake_bundle.pack(bundle)
    return bundle


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the next version."""
    return fake_bundle.make(tmp_path_factory.mktemp("newer"), "1.1.0")
