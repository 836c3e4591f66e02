"""The demo as a newcomer runs it, and as an impatient one ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import reaper

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@contextlib.contextmanager
def start(*args: str) -> Iterator[subprocess.Popen[str]]:
    demo = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.demo", *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with demo:
        try:
            yield demo
        finally:
            demo.kill()


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    """What it prints up to the line with that text, or to its end."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if text in line:
            break
    return "".join(lines)


def labs_of(pid: int) -> list[Path]:
    """The directories of the labs that this process has made."""
    owners = reaper.base_dir().glob("*/owner")
    return [owner.parent for owner in owners if owner.read_text().split()[0] == str(pid)]


@pytest.mark.needs_root
@pytest.mark.needs_podman
def test_the_whole_tour() -> None:
    with start() as demo:
        begun = time.monotonic()
        output, _ = demo.communicate()
        assert demo.returncode == 0, output
        assert time.monotonic() - begun < 90, output
        for shown in ("NotReady within", "Ready again within", "without a false NotReady"):
            assert shown in output.split("What you saw")[1]
        assert labs_of(demo.pid) == []


@pytest.mark.needs_root
@pytest.mark.needs_podman
@pytest.mark.parametrize("moment", ["Making four machines", "1. ", "3. ", "4. "])
def test_interrupted(moment: str) -> None:
    with start() as demo:
        read_until(demo, moment)
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate()
        assert demo.returncode == 130, output
        assert "Traceback" not in output
        assert labs_of(demo.pid) == []


@pytest.mark.needs_root
@pytest.mark.needs_podman
def test_kept_until_interrupted_and_its_commands_work() -> None:
    with start("--keep") as demo:
        guide = read_until(demo, "Ctrl-C removes").split("In another terminal:")[1]
        lines = [line.strip() for line in guide.splitlines() if line.startswith("  ")]
        script = "\n".join(line for line in lines if not line.endswith((" -w", " sh")))
        shown = subprocess.run(
            ["sh", "-eux", "-c", script], capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0, shown.stderr
        assert "3/3 nodes ready" in shown.stdout
        assert "localhost/hello:latest" in shown.stdout
        assert shown.stderr.count(" nft ") == 2
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate()
        assert demo.returncode == 0, output
        assert labs_of(demo.pid) == []


def test_a_step_that_fails_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "python").symlink_to(sys.executable)
    (broken / "piccolo").write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    (broken / "piccolo").chmod(0o755)
    done = subprocess.run(
        [broken / "python", "-m", "tests.lab.demo"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{broken}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Step 1 failed: master on master ended (3)" in done.stdout
    assert "out of order" in done.stdout
