"""Strangers at the master's door: what they show, what they send, and how little comes of it.

One cluster for all of it, with one honest agent, which nothing here may disturb.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib import GRPCError, Status

from piccolo.cli import exit_codes
from piccolo.core.security.access import RULES, Role
from piccolo.rpc import wire
from tests.e2e.asking import node
from tests.e2e.strangers import (
    GONE,
    Identity,
    Issuer,
    agent_identity,
    call,
    method,
    nobody,
    plain_socket,
    s_client,
    trusted,
    undisturbed,
)
from tests.lab.cluster import LoopbackLab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def lab() -> Iterator[LoopbackLab]:
    with undisturbed() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def own(lab: LoopbackLab) -> Issuer:
    return Issuer.own(lab)


# ---- certificates ----


def test_without_a_certificate_one_may_look_at_the_master(lab: LoopbackLab, tmp_path: Path) -> None:
    """By its authority and its name; what a connection is good for then, the table below says."""
    (tmp_path / "ca.pem").write_text(trusted(lab))
    verify = ["-CAfile", str(tmp_path / "ca.pem"), "-verify_return_error"]
    said = s_client(lab, *verify, "-verify_hostname", "piccolo-master", wait=False)
    assert "New, TLSv1.3" in said
    assert "Verify return code: 0 (ok)" in said
    assert "ALPN protocol: h2" in said
    assert "verify error" not in s_client(lab, *verify, "-verify_ip", lab.master.ip, wait=False)
    assert "verify error" in s_client(lab, *verify, "-verify_hostname", "a.example", wait=False)


def test_certificates_that_are_not_ours_are_refused_with_the_reason(
    lab: LoopbackLab, own: Issuer, tmp_path: Path
) -> None:
    expired = own.identity(Role.ADMIN, "admin", expired=True)
    foreign = Issuer.foreign(lab).identity(Role.ADMIN, "admin")
    said = {
        "expired": s_client(lab, *expired.options(tmp_path)),
        "foreign": s_client(lab, *foreign.options(tmp_path)),
    }
    assert "alert certificate expired" in said["expired"]
    assert "alert unknown ca" in said["foreign"]
    denied = {r["reason"] for r in audit(lab) if r["action"] == "TLSHandshake"}
    assert len(denied) >= 2, denied


def test_no_older_tls_and_nothing_plain(lab: LoopbackLab) -> None:
    assert "alert protocol version" in s_client(lab, "-tls1_2")
    with plain_socket(lab) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        heard = b""
        with contextlib.suppress(ConnectionResetError):  # what it did not read is thrown back
            heard = plain.recv(1000)
        assert heard == b""  # not a word of HTTP/2


async def test_a_certificate_of_another_cluster_by_our_authority(
    lab: LoopbackLab, own: Issuer
) -> None:
    """Whatever the names in it, only those of this cluster mean somebody."""
    refused = await call(
        lab,
        own.identity(Role.ADMIN, "admin", cluster="other"),
        method("GetNodes", "ApiServerService"),
    )
    assert refused is not None
    assert refused.status is Status.PERMISSION_DENIED
    assert "names nobody of this cluster" in (refused.message or "")


async def test_the_certificate_of_the_master_is_no_clients(lab: LoopbackLab) -> None:
    pki = lab.master.dir / "data" / "pki"
    key, certificate = ((pki / f"master.{end}").read_text() for end in ("key", "crt"))
    master = Identity(trusted(lab), certificate, key)
    with pytest.raises(GONE) as refused:
        await call(lab, master, method("GetNodes", "ApiServerService"))
    assert not isinstance(refused.value, GRPCError)  # TLS refuses it


def test_a_revoked_certificate_is_told_why(lab: LoopbackLab, tmp_path: Path) -> None:
    file = tmp_path / "viewer.yaml"
    lab.piccolo("context", "create", "--role", "viewer", "--name", "wall", "--out", str(file))
    assert "steady" in lab.piccolo("get", "nodes", "--context", str(file)).stdout
    with lab.watch("get", "nodes", "-w", "-o", "json", "--context", str(file)) as watch:
        watch.wait_synced()
        lab.piccolo("context", "revoke", "wall")
        assert watch.proc.wait(5) == exit_codes.DENIED  # what was running is ended
        assert "revoked" in watch.proc.output()
    refused = lab.piccolo("get", "nodes", "--context", str(file), check=False)
    assert (refused.returncode, refused.stdout) == (exit_codes.DENIED, "")
    assert "revoked" in refused.stderr


# ---- every RPC, every role ----

NO_MESSAGE = b"\x0a\xff"  # a length that has no end: protobuf.dev/programming-guides/encoding
TABLE_SAYS_NO = ("needs a certificate", "may not call")


async def test_every_rpc_for_every_role_over_the_wire(lab: LoopbackLab, own: Issuer) -> None:
    """The bytes are no message, so that nothing happens where it is allowed."""
    served = {
        *wire.ApiServerServiceBase().__mapping__(),
        *wire.NodeAgentServiceBase().__mapping__(),
    }
    assert set(RULES) == served
    wrong = []
    for role in Role:
        who = nobody(lab) if role is Role.ANONYMOUS else own.identity(role, f"some-{role}")
        for name in sorted(served):
            refused = await call(lab, who, name, NO_MESSAGE)
            assert refused is not None, (role, name)
            by_table = any(words in (refused.message or "") for words in TABLE_SAYS_NO)
            if by_table:
                assert refused.status is Status.PERMISSION_DENIED
            elif refused.status is not Status.INVALID_ARGUMENT:
                wrong.append((role, name, refused))
            if by_table == (role in RULES[name].roles):
                wrong.append((role, name, refused))
    assert wrong == []


async def test_an_agent_cannot_speak_for_another(lab: LoopbackLab) -> None:
    steady = await asyncio.to_thread(node, lab, "steady")
    other = agent_identity(lab, "other")
    generation = steady["generation"]
    attempts: dict[str, Any] = {
        "ReportStatus": wire.StatusReport(node_id=steady["id"], generation=generation),
        "Heartbeat": wire.HeartbeatRequest(node_id=steady["id"], generation=generation),
        "ReceiveConfig": wire.ConfigRequest(node_id=steady["id"]),
        "RegisterNode": wire.NodeRegistrationRequest(node_id=steady["id"], hostname="steady"),
        "Session": wire.AgentMessage(seq=1, hello=wire.Hello(node_id=steady["id"], protocol=1)),
    }
    for name, message in attempts.items():
        refused = await call(lab, other, method(name), bytes(message))
        assert refused is not None, name
        assert refused.status is Status.PERMISSION_DENIED, (name, refused)
        assert "this certificate is of node" in (refused.message or "")
    seen = await asyncio.to_thread(audit, lab)
    denied = {r["action"] for r in seen if not r["allowed"] and r["actor"].startswith("agent:")}
    assert set(attempts) <= denied
    assert (await asyncio.to_thread(node, lab, "steady"))["generation"] == generation


def audit(lab: LoopbackLab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lab.piccolo("audit", "-o", "json").stdout)
    return found
