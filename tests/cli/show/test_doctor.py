"""`piccolo doctor`: what the master finds, what is found here, and what the exit code says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from piccolo.core.errors import PermissionDenied
from piccolo.rpc import wire
from tests.cli.scripted import Cluster, ScriptedMaster, now, piccolo, refuse, saved, scripted

pytestmark = pytest.mark.slow  # each test starts the program, some several times

GOOD = wire.Finding(severity=wire.Severity.INFO, subject="store", message="works")
BAD = wire.Finding(
    severity=wire.Severity.ERROR,
    subject="node n1",
    message="Silent: nothing came",
    remedy="piccolo describe node n1",
)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def master(cluster: Cluster, tmp_path: Path) -> Iterator[ScriptedMaster]:
    with scripted(cluster.tls()) as found:
        found.answers["diagnose"] = lambda _: wire.DiagnoseResponse(findings=[GOOD])
        found.answers["get_authority"] = lambda _: wire.GetAuthorityResponse(
            ca_pem=cluster.authority.pem
        )
        saved(tmp_path / "c.yaml", cluster.context(found.address))
        yield found


def doctor(home: Path, *args: str, code: int) -> str:
    done = piccolo("doctor", "--context", str(home / "c.yaml"), *args, home=home)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def findings(home: Path, code: int) -> list[tuple[str, str, str]]:
    found = json.loads(doctor(home, "-o", "json", code=code))
    return [(f["severity"], f["subject"], f["message"]) for f in found]


def test_all_is_well(master: ScriptedMaster, tmp_path: Path) -> None:
    out = doctor(tmp_path, code=0)
    assert "✓ store: works\n" in out
    assert "✓ context: the context factory" in out
    assert out.endswith("0 errors, 0 warnings\n")


def test_the_worst_comes_first_with_its_remedy(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["diagnose"] = lambda _: wire.DiagnoseResponse(findings=[GOOD, BAD])
    out = doctor(tmp_path, code=1)
    lines = ["✗ node n1: Silent: nothing came", "    → piccolo describe node n1"]
    assert out.splitlines()[:2] == lines
    assert out.endswith("1 error, 0 warnings\n")
    assert [f[0] for f in findings(tmp_path, code=1)] == ["error", "info", "info"]
    assert "severity: error" in doctor(tmp_path, "-o", "yaml", code=1)


def test_what_comes_from_elsewhere_cannot_drive_the_terminal(
    master: ScriptedMaster, tmp_path: Path
) -> None:
    evil = wire.Finding(severity=wire.Severity.WARNING, subject="n\x1b[2J", message="\x1b]0;x")
    master.answers["diagnose"] = lambda _: wire.DiagnoseResponse(findings=[evil])
    assert "\x1b" not in doctor(tmp_path, code=0)


def test_without_the_master_it_tells_what_is_wrong_here(cluster: Cluster, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context("127.0.0.1:1"))
    found = findings(tmp_path, code=1)
    assert [f[:2] for f in found] == [("error", "master"), ("info", "context")]
    assert "127.0.0.1:1: connection refused" in found[0][2]

    path.chmod(0o644)
    [(severity, subject, message)] = findings(tmp_path, code=1)
    assert (severity, subject) == ("error", "context")
    assert "chmod" in message

    path.unlink()
    [(severity, subject, message)] = findings(tmp_path, code=1)
    assert (severity, subject) == ("error", "context")
    assert "there is no context file" in message


def test_a_context_that_is_refused_is_not_well(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["diagnose"] = refuse(PermissionDenied("this certificate was revoked: lost"))
    [(severity, subject, message)] = findings(tmp_path, code=1)
    assert (severity, subject) == ("error", "context")
    assert "was revoked: lost" in message
    assert "✓" not in doctor(tmp_path, code=1)
    assert doctor(tmp_path, "-o", "name", code=1) == "context\n"


def test_names_are_of_what_is_not_well(master: ScriptedMaster, tmp_path: Path) -> None:
    assert doctor(tmp_path, "-o", "name", code=0) == ""
    soon = wire.Finding(severity=wire.Severity.WARNING, subject="authority", message="soon over")
    master.answers["diagnose"] = lambda _: wire.DiagnoseResponse(findings=[GOOD, soon, BAD])
    assert doctor(tmp_path, "-o", "name", code=1) == "node n1\nauthority\n"


def test_a_context_that_ends(cluster: Cluster, master: ScriptedMaster, tmp_path: Path) -> None:
    context = cluster.context(master.address, life=timedelta(days=5))
    saved(tmp_path / "c.yaml", context, not_before=now() - timedelta(days=300))
    [warning, _] = findings(tmp_path, code=0)
    assert warning[:2] == ("warning", "context")
    assert "expires at" in warning[2]
    saved(tmp_path / "c.yaml", cluster.context(master.address, life=timedelta(minutes=-1)))
    own, refused = findings(tmp_path, code=1)
    assert own[:2] == ("error", "context")
    assert "expired at" in own[2]
    assert refused[:2] == ("error", "master")


def test_a_clock_before_the_beginning(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    context = cluster.context(master.address)
    saved(tmp_path / "c.yaml", context, not_before=now() + timedelta(days=1))
    error = findings(tmp_path, code=1)[0]
    assert error[:2] == ("error", "context")
    assert f"this machine's clock, which says {now():%Y-%m-%d}" in error[2]


def test_an_authority_that_the_context_does_not_know(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    new = Cluster().authority
    master.answers["get_authority"] = lambda _: wire.GetAuthorityResponse(
        ca_pem=new.pem + cluster.authority.pem
    )
    out = doctor(tmp_path, code=0)
    assert f"does not know the cluster's new authority {new.fingerprint}" in out
    assert "→ piccolo context renew" in out
    saved(
        tmp_path / "c.yaml",
        cluster.context(master.address),
        ca=new.pem + cluster.authority.pem,
    )
    assert "new authority" not in doctor(tmp_path, code=0)
