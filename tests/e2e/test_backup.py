"""A whole cluster whose master's machine is lost: made anew from a backup, on an empty one."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piccolo.cli import exit_codes
from piccolo.rpc import wire
from tests.e2e.asking import Stub, ask, events, eventually, nodes
from tests.lab.cluster import LoopbackLab
from tests.lab.process import Proc

pytestmark = pytest.mark.slow

PASSPHRASE = "correct horse battery staple"
PASSWORD = "behind the third brick"


@pytest.fixture(scope="module")
def lab() -> Iterator[LoopbackLab]:
    with LoopbackLab(["n1"]) as cluster:
        cluster.start_master()
        cluster.start_agents("--label", "hall=north")
        (cluster.master.dir / "passphrase").write_text(f"{PASSPHRASE}\n")
        cluster.piccolo("secret", "set", "wifi", f"password={PASSWORD}")
        for image in ("one", "two"):
            file = cluster.master.dir / "web.json"
            file.write_text(json.dumps(document(image)))
            cluster.piccolo("apply", "-f", str(file), "--no-wait")
        yield cluster


def document(image: str) -> dict[str, Any]:
    spec = {"image": f"localhost/{image}", "network": {"mode": "host"}}
    metadata = {"name": "web"}
    return {"apiVersion": "piccolo.io/v1", "kind": "Workload", "metadata": metadata, "spec": spec}


def run(
    lab: LoopbackLab, *args: str | Path, passphrase: str = "", largest: int | None = None
) -> subprocess.CompletedProcess[str]:
    """`piccolo ARGS`; `largest`: what a file may have in bytes, as on a disk that is full then."""
    environ = {**lab.client_env(), "PATH": "/usr/bin:/bin"}
    if passphrase:
        environ["PICCOLO_PASSPHRASE"] = passphrase

    def limit() -> None:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    return subprocess.run(
        [lab.program, *args],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        preexec_fn=limit,
    )


def refused(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == code


async def known(stub: Stub) -> dict[str, Any]:
    """What must survive."""
    members = (await stub.get_nodes(wire.GetNodesRequest())).nodes
    workloads = (await stub.get_workloads(wire.GetWorkloadsRequest())).workloads
    history = (await stub.get_history(wire.GetHistoryRequest(name="web"))).generations
    secrets = (await stub.get_secrets(wire.GetSecretsRequest())).secrets
    authorities = (await stub.get_authority(wire.GetAuthorityRequest())).authorities
    return {
        "nodes": [(n.name, n.id, dict(n.labels)) for n in members],
        "workloads": [(w.name, w.generation) for w in workloads],
        "history": [(g.number, g.at, g.by, g.spec) for g in history],
        "secrets": [(s.name, s.keys, s.created_at) for s in secrets],
        "authorities": [a.fingerprint for a in authorities],
    }


async def tokens(stub: Stub) -> list[bool]:
    """Whether each is revoked."""
    found = (await stub.get_tokens(wire.GetTokensRequest())).tokens
    return [token.revoked_at is not None for token in found]


def end(proc: Proc | None) -> None:
    assert proc is not None
    proc.kill()
    proc.wait()


def test_a_backup_needs_a_passphrase_and_room(lab: LoopbackLab) -> None:
    file = lab.master.dir / "not.backup"
    refused(run(lab, "backup", file), exit_codes.USAGE, "give --passphrase-file FILE, or set $PICC")
    full = run(lab, "backup", file, passphrase=PASSPHRASE, largest=1024)
    refused(full, exit_codes.UNREACHABLE, f"cannot write {file}: File too large; there is no")
    assert not list(lab.master.dir.glob("not.backup*"))
    assert run(lab, "backup", file, passphrase=PASSPHRASE).returncode == exit_codes.OK
    before = file.read_bytes()
    again = run(lab, "backup", file, passphrase=PASSPHRASE)
    refused(again, exit_codes.CONFLICT, "add --force to replace it")
    assert file.read_bytes() == before
    assert run(lab, "backup", file, "--force", passphrase=PASSPHRASE).returncode == exit_codes.OK
    assert file.read_bytes() != before


def test_a_viewer_gets_no_backup(lab: LoopbackLab) -> None:
    context = lab.master.dir / "viewer.yaml"
    made = ("--role", "viewer", "--name", "wall", "--out", str(context))
    lab.piccolo("context", "create", *made)
    file = lab.master.dir / "viewer.backup"
    done = run(lab, "backup", file, "--context", context, passphrase=PASSPHRASE)
    refused(done, exit_codes.DENIED, "viewer:wall may not call Backup")
    assert not list(lab.master.dir.glob("viewer.backup*"))


def test_a_master_made_anew_is_the_same_to_everybody(lab: LoopbackLab) -> None:
    file, data = lab.master.dir / "lab.backup", lab.master.dir / "data"
    secret = ("--passphrase-file", str(lab.master.dir / "passphrase"))
    before = ask(lab, known)
    made = json.loads(lab.piccolo("backup", str(file), *secret, "-o", "json").stdout)
    assert (made["nodes"], made["workloads"], made["secrets"]) == (1, 1, 1)
    assert made["bytes"] == file.stat().st_size
    assert PASSWORD.encode() not in file.read_bytes()
    checked = json.loads(lab.piccolo("restore", str(file), "--check", *secret, "-o", "json").stdout)
    assert checked["authority"] in before["authorities"]
    assert checked["revision"] == made["revision"]

    into = ("restore", file, "--data-dir", data)
    wrong = run(lab, *into, "--replace", passphrase="incorrect horse battery")
    refused(wrong, exit_codes.DENIED, "the passphrase is not that of this backup")
    running = run(lab, *into, "--replace", passphrase=PASSPHRASE)
    refused(running, exit_codes.CONFLICT, "stop that master first")
    assert nodes(lab)["n1"]["status"] == "Ready"

    end(lab.master_proc)
    refused(run(lab, *into, passphrase=PASSPHRASE), exit_codes.CONFLICT, "add --replace")
    shutil.rmtree(data)
    full = run(lab, *into, passphrase=PASSPHRASE, largest=8192)
    assert full.returncode == exit_codes.UNREACHABLE, full.stderr
    assert "Traceback" not in full.stderr
    assert not list(data.rglob("ca.key"))

    done = run(lab, *into, passphrase=PASSPHRASE)
    assert done.returncode == exit_codes.OK, done.stderr
    assert f"next: piccolo master --data-dir {data}" in done.stdout
    assert "note: revoked 2 join tokens of the backup" in done.stderr
    lab.start_master()
    eventually(lambda: nodes(lab)["n1"]["status"] == "Ready", 20)  # without a token
    assert ask(lab, known) == before
    assert [e["reason"] for e in events(lab)].count("Restored") == 1
    assert all(ask(lab, tokens))
    assert ask(lab, lambda stub: stub.verify_audit(wire.VerifyAuditRequest())).intact
    assert " Restored " in lab.piccolo("audit").stdout
