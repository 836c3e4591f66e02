"""A whole cluster whose store is encrypted: switched on, rotated under load, killed in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from piccolo.cli import exit_codes
from tests.e2e.asking import eventually, nodes
from tests.lab.cluster import LoopbackLab
from tests.lab.process import Proc

pytestmark = pytest.mark.slow

PLAIN = "discovery: any\n"
ENCRYPTED = "discovery: any\nencrypt: all\n"
PASSWORD = "correct horse battery staple"


@pytest.fixture
def lab() -> Iterator[LoopbackLab]:
    with LoopbackLab(["n1", "n2"]) as cluster:
        yield cluster


def holding(lab: LoopbackLab, text: str) -> list[str]:
    """The files of the master, and what its programs printed, in which that can be read."""
    files = [p for p in lab.master.dir.rglob("*") if p.is_file()]
    return [p.name for p in files if text.encode() in p.read_bytes()]


def end(proc: Proc | None, *, kill: bool = False) -> None:
    assert proc is not None
    (proc.kill if kill else proc.terminate)()
    proc.wait()


def key_file(lab: LoopbackLab) -> Path:
    return lab.master.dir / "data" / "pki" / "store.key"


def test_a_cluster_goes_on_while_its_store_is_encrypted(lab: LoopbackLab) -> None:
    lab.start_master(config=PLAIN)
    lab.start_agents("--label", "hall=very-secret-hall")
    values = lab.master.dir / "wifi"
    values.write_text(PASSWORD)
    lab.piccolo("secret", "set", "wifi", "--from-file", f"password={values}")
    values.unlink()
    assert holding(lab, PASSWORD) == []
    assert any(name.startswith("store.db") for name in holding(lab, "very-secret-hall"))

    end(lab.master_proc)
    lab.start_master(config=ENCRYPTED)
    assert not any(name.startswith("store.db") for name in holding(lab, "very-secret-hall"))
    eventually(lambda: all(n["status"] == "Ready" for n in nodes(lab).values()), 15)
    assert nodes(lab)["n1"]["labels"] == {"hall": "very-secret-hall"}

    before = key_file(lab).read_text()
    lab.piccolo("store", "rotate-key")
    assert key_file(lab).read_text() != before
    assert all(n["status"] == "Ready" for n in nodes(lab).values())
    end(lab.master_proc, kill=True)
    lab.start_master(config=ENCRYPTED)
    eventually(lambda: all(n["status"] == "Ready" for n in nodes(lab).values()), 15)
    [secret] = json.loads(lab.piccolo("secret", "list", "-o", "json").stdout)
    assert (secret["name"], secret["keys"]) == ("wifi", ["password"])
    assert holding(lab, PASSWORD) == []
    assert not any(name.startswith("store.db") for name in holding(lab, "very-secret-hall"))

    end(lab.master_proc)
    key_file(lab).unlink()
    refused = lab.start_master(config=ENCRYPTED, wait=False)
    assert refused.wait() == exit_codes.USAGE
    assert "needs the store key" in refused.output()
    assert "Traceback" not in refused.output()
    assert not key_file(lab).exists()
