"""`piccolo context`, and where the client looks for a context."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from piccolo.core.errors import NotFound
from piccolo.rpc import wire
from piccolo.security.authority import Request, load_certificate, serial_of
from piccolo.security.context import Context, load, save
from piccolo.security.request import key_fingerprint
from tests.cli.scripted import (
    CLUSTER,
    Cluster,
    ScriptedMaster,
    now,
    piccolo,
    refuse,
    saved,
    scripted,
)

pytestmark = pytest.mark.slow  # each test starts the program, some several times


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def master(cluster: Cluster) -> Iterator[ScriptedMaster]:
    with scripted(cluster.tls()) as found:
        yield found


def run(home: Path, *args: str, code: int = 0, **environ: str) -> tuple[str, str]:
    done = piccolo(*args, home=home, **environ)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def config(home: Path) -> Path:
    return home / ".config" / "piccolo"


def keep(home: Path, cluster: Cluster, name: str, **changes: object) -> Context:
    """A context among those that are kept."""
    folder = config(home) / "contexts"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    saved(folder / f"{name}.yaml", cluster.context(), name=name, **changes)
    return load(folder / f"{name}.yaml")


def name_in_use(home: Path, *args: str, **environ: str) -> str:
    done = piccolo("context", "show", "-o", "name", *args, home=home, **environ)
    return done.stdout.strip()


# ---- where it is looked for ----


def test_nothing_found_tells_where_it_was_looked_for_and_what_to_do(tmp_path: Path) -> None:
    _, error = run(tmp_path, "get", "nodes", code=2)
    for said in (
        "--context and $PICCOLO_CONTEXT: not given",
        f"{config(tmp_path)}/current",
        "/var/lib/piccolo/master/admin.yaml",
        "piccolo context import FILE",
        "piccolo context create",
    ):
        assert said in error


def test_each_place_goes_before_the_next(cluster: Cluster, tmp_path: Path) -> None:
    keep(tmp_path, cluster, "a")
    keep(tmp_path, cluster, "b")
    file = saved(tmp_path / "c.yaml", cluster.context(), name="c")
    run(tmp_path, "context", "use", "a")
    assert name_in_use(tmp_path) == "a"
    assert name_in_use(tmp_path, PICCOLO_CONTEXT="b") == "b"
    assert name_in_use(tmp_path, PICCOLO_CONTEXT=str(file)) == "c"
    assert name_in_use(tmp_path, "--context", "b", PICCOLO_CONTEXT="a") == "b"
    assert name_in_use(tmp_path, "--context", str(file), PICCOLO_CONTEXT="a") == "c"


def test_the_master_on_this_machine_comes_last(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from piccolo.cli import lookup

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("PICCOLO_CONTEXT", raising=False)
    monkeypatch.setattr(lookup, "_of_masters", lambda: iter([tmp_path / "admin.yaml"]))
    saved(tmp_path / "admin.yaml", cluster.context(), name="here")
    assert lookup.find().context.name == "here"
    keep(tmp_path, cluster, "a")
    (config(tmp_path) / "current").write_text("a\n")
    assert lookup.find().context.name == "a"


def test_the_data_directory_of_a_users_own_master(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from piccolo.cli import lookup

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert [str(p) for p in lookup._of_masters()] == [
        f"{tmp_path}/piccolo/master/admin.yaml",
        "/var/lib/piccolo/master/admin.yaml",
    ]


def test_what_is_named_but_missing_is_an_error_and_nothing_else_is_taken(
    cluster: Cluster, tmp_path: Path
) -> None:
    keep(tmp_path, cluster, "a")
    run(tmp_path, "context", "use", "a")
    _, error = run(tmp_path, "get", "nodes", "--context", "b", code=2)
    assert error.startswith("piccolo: --context: there is no context file ")
    assert "known by name: a" in error
    _, error = run(tmp_path, "get", "nodes", code=2, PICCOLO_CONTEXT=f"{tmp_path}/none.yaml")
    assert f"$PICCOLO_CONTEXT: there is no context file {tmp_path}/none.yaml; known" in error
    _, error = run(tmp_path, "get", "nodes", code=2, PICCOLO_CONTEXT=f"{tmp_path}/admin.yaml")
    assert "admin.yaml (a master makes its admin.yaml when it starts, also a restored one)" in error
    (config(tmp_path) / "contexts" / "a.yaml").unlink()
    _, error = run(tmp_path, "get", "nodes", code=2)
    assert f"{config(tmp_path)}/current says a, but there is no context file" in error


@pytest.mark.parametrize("name", ["..", "a b", ".hidden"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    _, error = run(tmp_path, "get", "nodes", "--context", name, code=2)
    assert "is not the name of a context" in error


def test_a_context_that_others_can_read_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    file = saved(tmp_path / "c.yaml", cluster.context())
    file.chmod(0o644)
    _, error = run(tmp_path, "get", "nodes", "--context", str(file), code=2)
    assert f"chmod go= {file}" in error


# ---- the ones that are kept ----


def test_the_first_that_is_imported_comes_into_use(cluster: Cluster, tmp_path: Path) -> None:
    file = saved(tmp_path / "c.yaml", cluster.context(), name="factory")
    out, err = run(tmp_path, "context", "import", str(file))
    assert out == f"context factory imported, admin of the cluster {CLUSTER}; in use\n"
    assert str(file) in err
    kept = config(tmp_path) / "contexts" / "factory.yaml"
    assert load(kept) == load(file)
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    out, _ = run(tmp_path, "context", "import", str(file), "--name", "second")
    assert "to use it: piccolo context use second" in out
    assert name_in_use(tmp_path) == "factory"
    run(tmp_path, "context", "use", "second")
    assert name_in_use(tmp_path) == "second"


def test_an_import_replaces_nothing_unasked(cluster: Cluster, tmp_path: Path) -> None:
    first = keep(tmp_path, cluster, "factory")
    file = saved(tmp_path / "c.yaml", cluster.context(), name="factory", role="viewer")
    _, error = run(tmp_path, "context", "import", str(file), code=5)
    assert "--replace" in error
    kept = config(tmp_path) / "contexts" / "factory.yaml"
    assert load(kept) == first
    run(tmp_path, "context", "import", str(file), "--replace")
    assert load(kept).role == "viewer"


def test_using_one_that_is_not_there_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    keep(tmp_path, cluster, "a")
    run(tmp_path, "context", "use", "a")
    run(tmp_path, "context", "use", "b", code=3)
    assert name_in_use(tmp_path) == "a"
    _, err = run(tmp_path, "context", "use", "a", PICCOLO_CONTEXT="b")
    assert "$PICCOLO_CONTEXT is set" in err


def test_the_list_shows_also_what_cannot_be_used(cluster: Cluster, tmp_path: Path) -> None:
    keep(tmp_path, cluster, "a", masters=("10.0.0.1:50051", "10.0.0.2:50051"))
    keep(tmp_path, cluster, "b", role="viewer", not_after=now() - timedelta(days=1))
    keep(tmp_path, cluster, "c")
    (config(tmp_path) / "contexts" / "c.yaml").write_text("broken: [\n")
    run(tmp_path, "context", "use", "a")
    out, err = run(tmp_path, "context", "list")
    lines = [line.split() for line in out.splitlines()[1:]]
    assert lines[0][:4] == ["*", "a", "admin", "10.0.0.1:50051,10.0.0.2:50051"]
    assert lines[1][:2] == ["b", "viewer"]
    assert "over" in lines[1]
    assert lines[2][:2] == ["c", "unusable"]
    assert "c.yaml:2:1: the context is damaged" in err
    found = json.loads(run(tmp_path, "context", "list", "-o", "json")[0])
    assert [f["current"] for f in found] == [True, False, False]
    assert found[0]["role"] == "admin"
    assert "damaged" in found[2]["problem"]
    assert "PRIVATE" not in json.dumps(found)


def test_no_contexts(tmp_path: Path) -> None:
    out, err = run(tmp_path, "context", "list")
    assert out == ""
    assert "piccolo context import" in err


def test_what_is_shown_of_a_context_is_not_its_key(cluster: Cluster, tmp_path: Path) -> None:
    file = saved(tmp_path / "c.yaml", cluster.context("10.0.0.1:1"))
    for output in ("table", "json", "yaml"):
        out, _ = run(tmp_path, "context", "show", "--context", str(file), "-o", output)
        assert CLUSTER in out
        assert str(file) in out
        assert "BEGIN" not in out


# ---- what the master does ----


def issue(cluster: Cluster, *addresses: str) -> Callable[[Any], Any]:
    def answer(request: wire.IssueCertificateRequest) -> wire.IssueCertificateResponse:
        life = timedelta(seconds=request.ttl_seconds)
        signed = cluster.sign(request.csr_pem, request.role, request.name, life)
        return wire.IssueCertificateResponse(
            certificate=wire.SignedCertificate(
                certificate_pem=signed.pem,
                ca_pem=cluster.authority.pem,
                not_before=signed.not_before,
                not_after=signed.not_after,
            ),
            cluster=wire.ClusterInfo(id=CLUSTER, name="f", master_addresses=list(addresses)),
        )

    return answer


def serial(context: Context) -> str:
    return serial_of(load_certificate(context.certificate))


def test_a_context_that_is_made_works(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    admin = saved(tmp_path / "admin.yaml", cluster.context(master.address))
    master.answers["issue_certificate"] = issue(cluster, master.address)
    master.answers["get_nodes"] = lambda _: wire.GetNodesResponse()
    out = tmp_path / "wall.yaml"
    args = ["--role", "viewer", "--name", "wall", "--out", str(out), "--ttl", "30d"]
    printed, _ = run(tmp_path, "context", "create", *args, "--context", str(admin))
    assert printed.startswith(f"{out}: viewer wall, until 20")
    made = load(out)
    assert (made.name, made.role, made.masters) == ("wall", "viewer", (master.address,))
    assert made.not_after - made.not_before == timedelta(days=30)
    [request] = master.requests("issue_certificate")
    assert Request(request.csr_pem).fingerprint == key_fingerprint(made.key)
    assert "PRIVATE" not in request.csr_pem
    run(tmp_path, "get", "nodes", "--context", str(out))
    _, _, certificate = master.asked[-1]
    assert certificate is not None
    assert certificate["subjectAltName"][0][1].endswith("/viewer/wall")


def test_no_certificate_is_made_that_could_not_be_kept(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    admin = saved(tmp_path / "admin.yaml", cluster.context(master.address))
    args = ["context", "create", "--role", "viewer", "--name", "x", "--context", str(admin)]
    run(tmp_path, *args, "--out", str(admin), code=5)
    run(tmp_path, *args, "--out", f"{tmp_path}/none/x.yaml", code=2)
    run(tmp_path, *args, "--out", f"{tmp_path}/x.yaml", "--ttl", "long", code=2)
    _, error = run(tmp_path, *args, "--out", f"{tmp_path}/x.yaml", "--ttl", "3651d", code=2)
    assert "at most 3650 days" in error
    assert master.asked == []


def test_renewing_makes_a_new_key_and_rewrites_the_file(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context(master.address, life=timedelta(days=3)))
    before = load(path)
    successor = Cluster().authority

    def renew(request: wire.RenewOwnCertificateRequest) -> wire.RenewOwnCertificateResponse:
        signed = cluster.sign(request.csr_pem, "admin", "factory")
        return wire.RenewOwnCertificateResponse(
            certificate=wire.SignedCertificate(
                certificate_pem=signed.pem,
                ca_pem=successor.pem + cluster.authority.pem,
                not_before=signed.not_before,
                not_after=signed.not_after,
            )
        )

    master.answers["renew_own_certificate"] = renew
    out, err = run(tmp_path, "context", "renew", "--context", str(path))
    assert f"({path}) renewed, until" in out
    assert f"holds until {before.not_after:%Y-%m-%d %H:%M} UTC" in err
    assert f"piccolo context revoke {serial(before)}\n" in err
    after = load(path)
    assert after.key != before.key
    assert after.ca == successor.pem + cluster.authority.pem
    assert after.not_after > before.not_after
    assert (after.name, after.masters) == (before.name, before.masters)
    run(tmp_path, "context", "renew", "--context", str(path))  # it works with what it wrote


def test_a_renewal_that_is_refused_leaves_the_file(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context(master.address))
    before = path.read_text()
    master.answers["renew_own_certificate"] = refuse(NotFound("no"))
    run(tmp_path, "context", "renew", "--context", str(path), code=3)
    assert path.read_text() == before


def test_revoking(cluster: Cluster, master: ScriptedMaster, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context(master.address))
    master.answers["revoke_certificate"] = lambda r: wire.RevokeCertificateResponse(
        revoked=[wire.Certificate(serial=s, role="viewer", name=r.serial) for s in ("0A", "0B")]
    )
    out, err = run(tmp_path, "context", "revoke", "wall", "--context", str(path))
    assert out.splitlines() == [f"viewer wall: certificate {s} revoked" for s in ("0A", "0B")]
    assert err == ""


@pytest.mark.parametrize(
    ("name", "which", "own", "said", "unsaid"),
    [
        ("eve", "eve", True, ["your own", "on the master's machine"], "anew"),
        ("admin", "admin", True, ["your own", "makes its admin.yaml anew"], "to get another"),
        ("admin", "admin", False, ["makes its admin.yaml anew"], "your own"),
        ("admin", "0A", False, [], "piccolo:"),  # an older one of the master's
    ],
)
def test_revoking_what_is_in_use(
    cluster: Cluster,
    master: ScriptedMaster,
    tmp_path: Path,
    name: str,
    which: str,
    own: bool,
    said: list[str],
    unsaid: str,
) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context(master.address))
    revoked = wire.Certificate(
        serial=serial(load(path)) if own else "0A", role="admin", name=name, not_after=now()
    )
    master.answers["revoke_certificate"] = lambda _: wire.RevokeCertificateResponse(
        revoked=[revoked]
    )
    out, err = run(tmp_path, "context", "revoke", which, "--context", str(path))
    assert out == (
        f"admin {name}: certificate {revoked.serial} revoked, which was to hold until"
        f" {now():%Y-%m-%d}\n"
    )
    assert all(text in err for text in said)
    assert unsaid not in err


def test_the_certificates(cluster: Cluster, master: ScriptedMaster, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context(master.address))
    year = timedelta(days=365)

    def certificate(serial: str, **given: Any) -> wire.Certificate:
        fields: dict[str, Any] = {"serial": serial, "not_after": now() + year, "trusted": True}
        return wire.Certificate(**(fields | given))

    master.answers["get_certificates"] = lambda _: wire.GetCertificatesResponse(
        certificates=[
            certificate("01", role="agent", name="id-1", node_name="n1", newest=True),
            certificate("04", role="agent", name="id-1", node_name="n1"),
            certificate("05", role="viewer", name="hall", newest=True, trusted=False),
            certificate("06", role="viewer", name="hall", trusted=False),
            wire.Certificate(serial="02", role="viewer", name="wall", not_after=now() - year),
            wire.Certificate(
                serial="03",
                role="admin",
                name="eve",
                not_after=now() + year,
                revoked_at=now(),
                revoked_reason="lost",
            ),
        ]
    )
    args = ["get", "certificates", "--context", str(path)]
    out, _ = run(tmp_path, *args)
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [r[:3] for r in rows] == [
        ["agent", "n1", "valid"],
        ["agent", "n1", "superseded"],
        ["viewer", "hall", "retired"],
        ["viewer", "hall", "retired"],
        ["viewer", "wall", "expired"],
        ["admin", "eve", "revoked"],
    ]
    found = json.loads(run(tmp_path, *args, "-o", "json")[0])
    assert [f["state"] for f in found] == [row[2] for row in rows]
    assert found[-1]["revokedReason"] == "lost"


def test_a_context_is_written_whole(cluster: Cluster, tmp_path: Path) -> None:
    """What fails while it is written leaves the old one, and nothing beside it."""
    path = tmp_path / "c.yaml"
    save(path, cluster.context())
    before = path.read_text()
    (tmp_path / "c.yaml.new").mkdir()
    with pytest.raises(Exception, match="cannot write"):
        save(path, cluster.context())
    assert path.read_text() == before
