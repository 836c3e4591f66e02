"""A real master offers a bundle to a bare machine; its installer only says what it was given."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from piccolo import __version__
from tests.lab.cluster import LoopbackLab
from tests.web.shop import bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[LoopbackLab]:
    """It listens for machines that install at any port, so that labs do not meet."""
    with LoopbackLab(0) as lab:
        where = f"{{listen: '{lab.master.ip}:0', directory: {directory}}}"
        lab.start_master(config=f"install: {where}\ndiscovery: any\n")
        yield lab


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30)


def tokens(lab: LoopbackLab) -> list[str]:
    return [t["id"] for t in json.loads(lab.piccolo("token", "list", "-o", "json").stdout)]


def test_from_nothing_to_the_installer(lab: LoopbackLab, directory: Path) -> None:
    assert lab.master_proc is not None
    before = tokens(lab)
    bundle(directory, "0.0.1")
    refused = lab.piccolo("token", "create", "--install", check=False)
    assert refused.returncode == 3
    assert "./dev build" in refused.stderr
    assert "piccolo-0.0.1-linux-amd64.tar.gz is of version 0.0.1" in refused.stderr
    assert tokens(lab) == before  # none was made
    assert "can be installed" not in lab.master_proc.output()

    bundle(directory, __version__)
    line = lab.piccolo("token", "create", "--install").stdout
    assert line.startswith("curl -fsSk --pinnedpubkey sha256//")
    done = shell(line)
    assert done.returncode == 0, done.stderr
    token = line.split()[-1]
    assert done.stdout.splitlines()[-1] == f"installer: {lab.master.ip} sub 50051 --token {token}"
    log = lab.master_proc.output()
    assert "GET '/piccolo-linux-amd64.tar.gz': 200" in log
    assert token not in log

    # A new certificate is served at once, and the line of before is worth nothing.
    lab.piccolo("ca", "rotate", "--no-wait")
    done = shell(line)
    assert "does not match pinned public key" in done.stderr
    assert done.stdout == ""
    done = shell(lab.piccolo("token", "create", "--install").stdout)
    assert done.returncode == 0, done.stderr
