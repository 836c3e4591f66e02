"""`./dev lab` as it is typed: one terminal with a lab, another one that breaks it."""

from __future__ import annotations

import contextlib
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


def typed(place: str, *words: str) -> tuple[int, str]:
    with lab(place, *words) as done:
        output, _ = done.communicate(timeout=30)
        return done.returncode, output


@contextlib.contextmanager
def lab(place: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab", *words],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": place},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def started(place: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A lab, and its id."""
    with lab(place, *words) as process:
        assert process.stdout is not None
        said = ""
        while (line := process.stdout.readline()) and not line.startswith("Lab "):
            said += line
        assert line, f"it ended: {said}"
        yield process, line.split()[1]


BARE = ("--loopback", "--bare", "--nodes", "1")


def test_a_lab_takes_verbs_from_another_terminal(place: str) -> None:
    code, output = typed(place, "status")
    assert (code, output) == (
        1,
        "error: no lab runs here: start one in another terminal with ./dev lab\n",
    )
    with started(place, *BARE) as (one, first):
        file = Path(place) / f"piccolo-lab-{os.getuid()}" / first / "node1" / "data" / "file"
        file.parent.mkdir()
        file.write_text("text")
        cut = "node1: file is cut off after 2 of 4 bytes\n"
        assert typed(place, "truncate", "node1", "file") == (0, cut)
        assert file.read_text() == "te"
        code, output = typed(place, "cut", "node1", "--in")
        assert (code, output.startswith("error: loopback has no cable")) == (1, True)
        with started(place, *BARE) as (other, second):
            code, output = typed(place, "heal")
            assert (code, "choose one with --lab" in output) == (1, True)
            assert typed(place, "status", "--lab", second) == (0, "nothing is broken\n")
            assert typed(place, "--lab", second, "status") == (0, "nothing is broken\n")
            assert typed(place, "--lab", first, "status") == (0, cut)
            code, output = typed(place, "--lab", first)
            assert (code, "say what to do to it" in output) == (1, True)
            assert first in typed(place, "list")[1]
            other.send_signal(signal.SIGTERM)
            assert other.wait(10) == 0
        assert typed(place, "heal") == (0, "node1: file is right again\n")
        assert file.read_text() == "text"
        one.send_signal(signal.SIGINT)
        assert one.wait(10) == 0
        assert not file.exists()


def test_help_teaches(place: str) -> None:
    code, output = typed(place, "--help")
    assert code == 0
    for words in ("cut node3", "needs root", "--store", "heal"):
        assert words in output
    assert typed(place, "cut")[0] == 2
    assert typed(place, "fill", "--help")[0] == 0
