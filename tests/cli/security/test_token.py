"""`piccolo token` against a scripted master."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from piccolo.cli.security import context_certificates
from piccolo.cli.security import token as token_commands
from piccolo.core.errors import NotFound, PermissionDenied
from piccolo.core.security.token import JoinToken
from piccolo.master.api_server.security_calls import MAX_CLIENT_LIFETIME
from piccolo.master.security.tokens import MAX_TTL
from piccolo.rpc import wire
from tests.cli.scripted import Cluster, ScriptedMaster, now, piccolo, refuse, saved, scripted

TEXT = JoinToken.make(bytes(range(23)), "SHA256:" + "A" * 43).text
ID = JoinToken.parse(TEXT).id


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def master(cluster: Cluster, tmp_path: Path) -> Iterator[ScriptedMaster]:
    with scripted(cluster.tls()) as found:
        saved(tmp_path / "admin.yaml", cluster.context(found.address))
        yield found


def run(home: Path, *args: str, code: int = 0) -> tuple[str, str]:
    done = piccolo(*args, "--context", str(home / "admin.yaml"), home=home)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def token(**given: Any) -> wire.Token:
    fields: dict[str, Any] = {
        "id": ID,
        "created_at": now(),
        "expires_at": now() + timedelta(hours=1),
        "uses": 1,
    }
    return wire.Token(**(fields | given))


def created(request: wire.CreateTokenRequest) -> wire.CreateTokenResponse:
    made = token(
        uses=request.uses,
        node=request.node,
        type=request.type,
        expires_at=now() + timedelta(seconds=request.ttl_seconds),
    )
    addresses = ["10.0.0.1:50051", "[2001:db8::1]:50051"]
    return wire.CreateTokenResponse(token=made, text=TEXT, master_addresses=addresses)


def test_the_command_to_join_is_what_is_printed(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["create_token"] = created
    out, err = run(tmp_path, "token", "create")
    assert out == f"piccolo agent --master 10.0.0.1:50051 --token {TEXT}\n"
    assert ID in err
    assert "[2001:db8::1]:50051" in err
    [request] = master.requests("create_token")
    assert (request.ttl_seconds, request.uses) == (86_400, 1)
    [(_, _, certificate)] = master.asked
    assert certificate is not None  # the client showed who it is


def test_what_a_token_is_limited_to(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["create_token"] = created
    given = ["--ttl", "90m", "--node", "n1", "--type", "cloud", "-o", "json"]
    out, _ = run(tmp_path, "token", "create", *given)
    found = json.loads(out)
    assert found["token"] == TEXT
    assert found["id"] == ID
    assert (found["uses"], found["node"], found["type"]) == (1, "n1", "cloud")
    assert found["masters"] == ["10.0.0.1:50051", "[2001:db8::1]:50051"]
    assert found["command"].endswith(f"--token {TEXT} --name n1 --type cloud")
    assert found["expires"].endswith("Z")
    [request] = master.requests("create_token")
    assert request == wire.CreateTokenRequest(
        ttl_seconds=5400, uses=1, node="n1", type=wire.NodeType.CLOUD
    )


def installable(request: wire.CreateTokenRequest) -> wire.CreateTokenResponse:
    reply = created(request)
    reply.install = wire.Installation(
        version="1.2.3",
        machines=["amd64", "arm"],
        urls=["https://10.0.0.1:50052/install.sh", "https://[2001:db8::1]:50052/install.sh"],
        key_pin="sha256//" + "A" * 43 + "=",
        key_until=now() + timedelta(days=2),
    )
    return reply


LINE = (
    f"curl -fsSk --pinnedpubkey sha256//{'A' * 43}= https://10.0.0.1:50052/install.sh"
    f" | sh -s -- --token {TEXT}"
)


def test_the_line_for_a_bare_machine(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["create_token"] = installable
    out, err = run(tmp_path, "token", "create", "--install")
    assert out == f"{LINE}\n"
    assert "as root" in err
    assert "https://[2001:db8::1]:50052/install.sh" in err
    assert "another key" not in err
    [request] = master.requests("create_token")
    assert request.install
    out, err = run(tmp_path, "token", "create", "--install", "--ttl", "7d", "--node", "n1")
    assert out == f"{LINE} --name n1\n"
    assert "the master gets another key" in err
    found = json.loads(run(tmp_path, "token", "create", "-o", "json")[0])["install"]
    assert found["command"] == LINE
    assert found["keyPin"] == f"sha256//{'A' * 43}="
    assert found["keyUntil"].endswith("Z")
    assert (found["version"], found["machines"]) == ("1.2.3", ["amd64", "arm"])
    assert len(found["urls"]) == 2


def test_that_there_is_a_bundle_is_said(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["create_token"] = installable
    out, err = run(tmp_path, "token", "create")
    assert out.startswith("piccolo agent ")
    assert "for a machine without PICCOLO: piccolo token create --install" in err
    assert not master.requests("create_token")[0].install
    master.answers["create_token"] = created
    assert "--install" not in run(tmp_path, "token", "create")[1]


def test_a_master_without_a_bundle_or_older_than_this(
    master: ScriptedMaster, tmp_path: Path
) -> None:
    master.answers["create_token"] = refuse(NotFound("no bundle: ./dev build"))
    assert "./dev build" in run(tmp_path, "token", "create", "--install", code=3)[1]
    master.answers["create_token"] = created
    out, err = run(tmp_path, "token", "create", "--install", code=4)
    assert out == ""
    assert f"piccolo token revoke {ID}" in err


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--ttl", "soon"], "--ttl: .*is not a duration"),
        (["--ttl", "0"], "--ttl: 0 is not possible"),
        (["--ttl", "367d"], "--ttl: .*at most 366 days"),
        (["--ttl", "99999999d"], "--ttl: .*at most 366 days"),
        (["--type", "big"], "--type: .*write embedded or cloud"),
        (["--uses", "0"], "--uses"),
    ],
)
def test_wrong_limits_never_reach_the_master(
    master: ScriptedMaster, tmp_path: Path, args: list[str], reason: str
) -> None:
    _, err = run(tmp_path, "token", "create", *args, code=2)
    assert re.search(reason, err)
    assert master.asked == []


def test_the_list_tells_what_became_of_each(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["get_tokens"] = lambda _: wire.GetTokensResponse(
        tokens=[
            token(id="aaaaaaaa", created_by="admin:factory"),
            token(id="bbbbbbbb", used=1, used_by=["n1"]),
            token(id="cccccccc", expires_at=now() - timedelta(hours=1)),
            token(id="dddddddd", revoked_at=now(), used=1, node="n2"),
            token(id="eeeeeeee", authority_retired=True),
            token(id="ffffffff", authority_retired=True, used=1),
        ]
    )
    out, _ = run(tmp_path, "token", "list")
    states = [line.split("   ")[1].strip() for line in out.splitlines()[1:]]
    assert states == [
        *("valid", "used up", "expired", "revoked"),
        *("authority retired", "used up"),
    ]
    assert "admin:factory" in out
    found = json.loads(run(tmp_path, "token", "list", "-o", "json")[0])
    assert [f["state"] for f in found] == states
    assert found[1]["usedBy"] == ["n1"]
    assert run(tmp_path, "token", "list", "-o", "name")[0].split() == [f["id"] for f in found]


def test_no_tokens(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["get_tokens"] = lambda _: wire.GetTokensResponse()
    out, err = run(tmp_path, "token", "list")
    assert out == ""
    assert "piccolo token create" in err


def test_revoking(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["revoke_token"] = lambda r: wire.RevokeTokenResponse(
        token=token(id=r.id, used=1, used_by=["n1"])
    )
    out, _ = run(tmp_path, "token", "revoke", ID)
    assert out == f"token {ID} revoked; n1 joined with it and stays\n"
    assert [r.id for r in master.requests("revoke_token")] == [ID]
    master.answers["revoke_token"] = lambda r: wire.RevokeTokenResponse(
        token=token(id=r.id, used=2, used_by=["n1", "n2"])
    )
    assert "n1, n2 joined with it and stay\n" in run(tmp_path, "token", "revoke", ID)[0]
    master.answers["revoke_token"] = lambda r: wire.RevokeTokenResponse(token=token(id=r.id))
    assert run(tmp_path, "token", "revoke", ID)[0] == f"token {ID} revoked\n"


def test_the_limits_are_those_of_the_master() -> None:
    assert MAX_TTL.total_seconds() == token_commands._LONGEST
    assert MAX_CLIENT_LIFETIME.total_seconds() == context_certificates._LONGEST


def test_revoking_by_the_whole_token_does_not_send_the_secret(
    master: ScriptedMaster, tmp_path: Path
) -> None:
    _, err = run(tmp_path, "token", "revoke", TEXT, code=2)
    assert "no token's id" in err
    assert TEXT not in err
    assert master.asked == []


def test_what_the_master_refuses(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["revoke_token"] = refuse(NotFound("there is no such token"))
    assert "there is no such token" in run(tmp_path, "token", "revoke", ID, code=3)[1]
    master.answers["create_token"] = refuse(PermissionDenied("that is for admin"))
    assert "that is for admin" in run(tmp_path, "token", "create", code=6)[1]
