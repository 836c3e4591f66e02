"""`./dev lab` as it is typed: one terminal with a lab, another one that breaks it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def place() -> Iterator[str]:
    """Where no other labs are; short, for sockets."""
    with tempfile.TemporaryDirectory(prefix="lab") as directory:
        yield directory


def lab(place: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.lab", *words],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": place},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def typed(place: str, *words: str) -> tuple[int, str]:
    with lab(place, *words) as done:
        output, _ = done.communicate(timeout=30)
        return done.returncode, output


def started(place: str, *words: str) -> tuple[subprocess.Popen[str], str]:
    """A lab, and its id."""
    made = lab(place, *words)
    assert made.stdout is not None
    for line in made.stdout:
        if line.startswith("Lab "):
            return made, line.split()[1]
    raise AssertionError(f"it ended: {made.wait()}")


def test_a_lab_takes_verbs_from_another_terminal(place: str) -> None:
    assert typed(place, "status") == (
        1,
        "error: no lab runs here: start one in another terminal with ./dev lab\n",
    )
    one, first = started(place, "--loopback", "--nodes", "1")
    with one:
        assert typed(place, "freeze", "node1") == (0, "node1: agent is frozen\n")
        assert typed(place, "status") == (0, "node1: agent is frozen\n")
        code, output = typed(place, "cut", "node1", "--in")
        assert (code, output.startswith("error: loopback has no cable")) == (1, True)
        assert "piccolo get nodes" in typed(place, "guide")[1]
        other, second = started(place, "--loopback", "--nodes", "0", "--bare")
        with other:
            code, output = typed(place, "heal")
            assert (code, "choose one with --lab" in output) == (1, True)
            assert typed(place, "heal", "--lab", second) == (0, "nothing was broken\n")
            assert first in typed(place, "list")[1]
            other.send_signal(signal.SIGTERM)
            assert other.wait(10) == 0
        assert typed(place, "heal") == (0, "node1: agent is right again\n")
        one.send_signal(signal.SIGINT)
        assert one.wait(20) == 0
    assert typed(place, "list") == (0, "no lab runs here\n")


def test_help_teaches(place: str) -> None:
    code, output = typed(place, "--help")
    assert code == 0
    for words in ("cut node3", "needs root", "--store", "heal"):
        assert words in output
    assert typed(place, "cut")[0] == 2
    assert typed(place, "fill", "--help")[0] == 0
