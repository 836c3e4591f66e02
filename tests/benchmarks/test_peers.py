"""What a cluster was seen to say of its nodes."""

from __future__ import annotations

import threading
import time

import pytest

from benchmarks.peers import cluster
from benchmarks.peers.cluster import Sightings
from tests.lab.errors import LabError


def test_only_what_was_said_since_counts() -> None:
    seen = Sightings("Serf")
    seen.add("node1", False)
    mended = time.monotonic()
    seen.add("node2", False)
    seen.add("node1", True)
    assert seen.wait("node1", True, mended) >= mended
    assert seen.wait("node1", False, 0.0) <= mended
    assert (seen.lost(0.0), seen.lost(mended)) == (2, 1)


def test_what_comes_later_is_waited_for() -> None:
    seen = Sightings("Serf")
    later = threading.Timer(0.02, seen.add, ("node1", False))
    later.start()
    begun = time.monotonic()
    assert seen.wait("node1", False, begun) >= begun
    later.join()


def test_what_never_comes_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.01)
    with pytest.raises(LabError, match="Serf did not call node1 back"):
        Sightings("Serf").wait("node1", True, 0.0)
