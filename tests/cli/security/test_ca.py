"""`piccolo ca`: the progress of a rotation, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from piccolo.cli.security.ca import missing, progress
from piccolo.core.errors import Conflict
from piccolo.rpc import wire
from tests.cli.scripted import Cluster, ScriptedMaster, now, piccolo, refuse, saved, scripted

pytestmark = pytest.mark.slow  # each test starts the program, some several times

OLD, NEW = "SHA256:" + "A" * 43, "SHA256:" + "B" * 43


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def master(cluster: Cluster, tmp_path: Path) -> Iterator[ScriptedMaster]:
    with scripted(cluster.tls()) as found:
        saved(tmp_path / "admin.yaml", cluster.context(found.address))
        yield found


def run(home: Path, *args: str, code: int = 0) -> tuple[str, str]:
    done = piccolo("ca", *args, "--context", str(home / "admin.yaml"), home=home)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def authorities(on_new: list[str], on_old: list[str]) -> list[wire.Authority]:
    until = now() + timedelta(days=3650)
    return [
        wire.Authority(fingerprint=NEW, current=True, nodes=on_new, not_after=until),
        wire.Authority(
            fingerprint=OLD, nodes=on_old, not_after=until, retires_at=now() + timedelta(days=30)
        ),
    ]


def node(name: str, connected: bool = True) -> wire.Node:
    return wire.Node(name=name, link=wire.LinkInfo(connected=connected))


def test_who_is_without_a_certificate_of_the_new_authority() -> None:
    nodes = [node("n1"), node("n2"), node("n3", connected=False), wire.Node(name="n4")]
    assert missing(authorities(["n1"], ["n2", "n3"]), nodes) == (["n2"], ["n3", "n4"])
    assert missing(authorities(["n1", "n2", "n3", "n4"], []), nodes) == ([], [])


def test_the_progress_names_who_is_waited_for() -> None:
    assert progress(4, ["n2"], ["n3"]) == (
        "2 of 4 nodes have a certificate of the new authority; waiting for n2; away, get theirs"
        " when they come back: n3"
    )
    assert progress(1, [], []) == "1 of 1 nodes has a certificate of the new authority"


def test_showing(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["get_authority"] = lambda _: wire.GetAuthorityResponse(
        authorities=authorities(["n1", "n2"], ["n3"]), ca_pem="-----BEGIN…\n"
    )
    out, _ = run(tmp_path, "show")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [r[:2] for r in rows] == [[NEW, "current"], [OLD, "replaced"]]
    found = json.loads(run(tmp_path, "show", "-o", "json")[0])
    assert [(f["current"], f["nodes"]) for f in found] == [(True, ["n1", "n2"]), (False, ["n3"])]
    assert run(tmp_path, "show", "--pem")[0] == "-----BEGIN…\n"


def test_a_rotation_is_followed_until_all_connected_nodes_are_through(
    master: ScriptedMaster, tmp_path: Path
) -> None:
    states = [(["n1"], ["n2", "n3"]), (["n1"], ["n2", "n3"]), (["n1", "n2"], ["n3"])]

    def state(_: object) -> wire.GetAuthorityResponse:
        looked = len(master.requests("get_authority")) - 1
        return wire.GetAuthorityResponse(authorities=authorities(*states[min(looked, 2)]))

    master.answers |= {
        "rotate_authority": lambda _: wire.RotateAuthorityResponse(
            authorities=authorities([], ["n1", "n2", "n3"])
        ),
        "get_authority": state,
        "get_nodes": lambda _: wire.GetNodesResponse(
            nodes=[node("n1"), node("n2"), node("n3", connected=False)]
        ),
    }
    out, err = run(tmp_path, "rotate", "--overlap", "7d", "-o", "json")
    [request] = master.requests("rotate_authority")
    assert request.overlap_seconds == 7 * 86_400
    said = [line for line in err.splitlines() if "of the new authority" in line]
    assert len(said) == 2  # once per news
    assert "1 of 3" in said[0]
    assert "waiting for n2" in said[0]
    assert "2 of 3" in said[1]
    assert "come back: n3" in said[1]
    assert json.loads(out)[0]["nodes"] == ["n1", "n2"]
    assert "piccolo ca retire" in err


def test_nobody_has_to_wait(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["rotate_authority"] = lambda _: wire.RotateAuthorityResponse(
        authorities=authorities([], ["n1"])
    )
    run(tmp_path, "rotate", "--no-wait")
    assert [name for name, _, _ in master.asked] == ["rotate_authority"]
    assert master.requests("rotate_authority")[0].overlap_seconds == 0  # as the master says


def test_retiring(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["retire_authority"] = lambda _: wire.RetireAuthorityResponse(
        authorities=authorities(["n1"], [])[:1],
        retired=1,
        shut_out=[
            wire.Certificate(role="agent", name="id-2", node_name="n2"),
            wire.Certificate(role="viewer", name="wall"),
        ],
    )
    out, err = run(tmp_path, "retire", "--force")
    assert NEW in out
    assert OLD not in out
    node_out, client_out = err.splitlines()
    assert "node n2 is shut out" in node_out
    assert node_out.endswith("piccolo token create --node n2")
    assert "viewer wall is shut out" in client_out
    assert client_out.endswith("piccolo context create --role viewer --name wall --out FILE")
    assert master.requests("retire_authority")[0].force
    master.answers["retire_authority"] = refuse(Conflict("n3 would be shut out"))
    assert "n3 would be shut out" in run(tmp_path, "retire", code=5)[1]
    assert not master.requests("retire_authority")[1].force


def test_nothing_to_retire(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["retire_authority"] = lambda _: wire.RetireAuthorityResponse(
        authorities=authorities(["n1"], [])[:1]
    )
    out, err = run(tmp_path, "retire", "-o", "json")
    assert [a["fingerprint"] for a in json.loads(out)] == [NEW]
    assert "there is no replaced authority to retire" in err
