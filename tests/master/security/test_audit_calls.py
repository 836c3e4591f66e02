"""What clients get of the audit trail."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from piccolo.config.settings import AuditSettings
from piccolo.core.security.access import Principal, Role
from piccolo.master.api_server.audit_calls import AuditCalls
from piccolo.master.clock import Clock
from piccolo.master.security.access_control import AccessControl
from piccolo.rpc import wire
from piccolo.rpc.server import Caller
from tests.master.security.audit_world import AuditWorld, auditing, files
from tests.master.virtual_time import utc, virtual_time


def service(world: AuditWorld) -> AuditCalls:
    calls = AuditCalls()
    cluster: Any = SimpleNamespace(audit=world.trail)
    calls._c = cluster
    return calls


async def ask(world: AuditWorld, **request: Any) -> list[wire.AuditRecord]:
    """As they arrive on the other side."""
    answers = service(world).get_audit(wire.GetAuditRequest(**request))
    return [wire.AuditRecord.FromString(bytes(answer)) async for answer in answers]


@virtual_time
async def test_records_arrive_as_they_were_made(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit") as world:
        world.trail.record(
            "agent:n\ud800", "[::1]:7", "Session", "node 앞", allowed=False, reason="a\nb"
        )
        [_, record] = await ask(world)
        assert (record.number, record.actor, record.source) == (2, "agent:n\\ud800", "[::1]:7")
        assert (record.object, record.reason, record.allowed) == ("node 앞", "a\nb", False)
        assert (record.time, record.count) == (utc(), 1)
        assert record.line.encode() + b"\n" in files(world.directory)[0].read_bytes()


@virtual_time
async def test_since(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit") as world:
        for number in range(30):
            world.do(f"node n{number}")
            await asyncio.sleep(60)
        found = await ask(world, since=utc() - timedelta(minutes=3))
        assert [r.object for r in found] == ["node n27", "node n28", "node n29"]


@virtual_time
async def test_a_line_that_cannot_be_read_is_shown_with_what_to_do(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit", settings=AuditSettings()) as world:
        world.do("node n1")
        await asyncio.sleep(1)
        with files(world.directory)[0].open("ab") as file:
            file.write(b"rub\xffbish\n")
        world.do("node n2")
        found = await ask(world, since=utc() - timedelta(days=1))
        [bad] = [r for r in found if not r.number]
        assert bad.line == "rub�bish"
        assert "piccolo audit verify" in bad.reason
        assert found[-1].object == "node n2"


@virtual_time
async def test_verify_says_what_is_wrong_where(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit") as world:
        world.do("node n1", "node n2")
        answer = await service(world).verify_audit(wire.VerifyAuditRequest())
        assert (answer.intact, answer.records, answer.first, answer.last) == (True, 3, 1, 3)
        assert answer.hash == world.records()[-1].hash
        path = files(world.directory)[0]
        path.write_bytes(path.read_bytes().replace(b"node n1", b"node n3"))
        answer = await service(world).verify_audit(wire.VerifyAuditRequest())
        assert not answer.intact
        [finding] = [f for f in answer.findings if "changed" in f]
        assert finding.startswith("audit-000001.jsonl:2: record 2 was changed")


@pytest.mark.parametrize("reads", [True, False])
@virtual_time
async def test_what_people_look_at_is_recorded_when_it_is_wanted(
    tmp_path: Path, reads: bool
) -> None:
    async with auditing(tmp_path / "audit", settings=AuditSettings(reads=reads)) as world:
        nobody: Any = SimpleNamespace()
        access = AccessControl("c1", nobody, world.trail, world.log, Clock())
        viewer = Caller("10.0.0.2:4000", Principal(Role.VIEWER, "eva"))
        agent = Caller("10.0.0.3:4000", Principal(Role.AGENT, "id-1"))
        access.ended("/piccolo.api.v1.ApiServerService/GetNodes", viewer, None)
        access.ended("/piccolo.v1.NodeAgentService/Heartbeat", agent, None)
        access.ended("/piccolo.api.v1.ApiServerService/RemoveNode", viewer, None)
        await asyncio.sleep(0.1)
        expected = ["GetNodes", "RemoveNode"] if reads else ["RemoveNode"]
        assert world.actions()[1:] == expected
