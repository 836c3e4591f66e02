"""The guard in front of every RPC: who is let in, who is cut off, who is blocked, what is noted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from piccolo.core.errors import Conflict, PermissionDenied, PiccoloError, Unavailable
from piccolo.core.security.access import Principal, Role
from piccolo.core.security.audit import Entry
from piccolo.master.clock import Clock
from piccolo.master.security.access_control import AccessControl
from piccolo.rpc import wire
from piccolo.rpc.server import Caller
from piccolo.security.tls import client_context
from tests.master.insiders import machine
from tests.master.security.audit_world import records
from tests.master.virtual_time import utc, virtual_time
from tests.master.world import World, master
from tests.security.handshake import shake

AGENTS = "/piccolo.v1.NodeAgentService/"
CLIENTS = "/piccolo.api.v1.ApiServerService/"
SESSION, RENEW, REMOVE = AGENTS + "Session", AGENTS + "RenewCertificate", CLIENTS + "RemoveNode"
HOUR = timedelta(hours=1)
NODE, ADMIN = Principal(Role.AGENT, "id-n1"), Principal(Role.ADMIN, "eva")


async def shown(
    world: World, who: Principal, lifetime: timedelta = HOUR
) -> tuple[dict[str, Any], wire.SignedCertificate]:
    """A certificate of the master's: as TLS shows it to the guard, and itself."""
    c, key = world.cluster.certificates, machine("access")
    made = await c.issue(who, key.request, lifetime)
    seen = shake(c.trust.tls(), client_context(made.ca_pem, made.certificate_pem, key.key))
    assert seen is not None
    return seen, made


def admit(
    world: World, certificate: dict[str, Any] | None, method: str = SESSION, host: str = "10.0.0.9"
) -> Caller:
    return world.cluster.access.admit(method, f"{host}:4000", certificate)


@asynccontextmanager
async def call(
    world: World, certificate: dict[str, Any], method: str = SESSION
) -> AsyncIterator[asyncio.Task[None]]:
    """One that lasts until the guard cuts it, or the block ends; as the server makes it."""
    admitted = asyncio.Event()

    async def handle() -> None:
        who = admit(world, certificate, method)
        admitted.set()
        error: BaseException | None = None
        try:
            await asyncio.Event().wait()
        except BaseException as caught:
            error = caught
            raise
        finally:
            world.cluster.access.ended(method, who, error)

    task = asyncio.create_task(handle())
    await admitted.wait()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def trail(world: World, action: str = "") -> list[Entry]:
    await world.cluster.audit._write(sync=False)
    found = [r.entry for r in records(world.disk.directory / "audit")]
    return [e for e in found if not action or e.action == action]


def set_clock(world: World, ahead: timedelta) -> None:
    """The time of day is stepped; the other clock goes on."""
    stepped = Clock(world.cluster.clock.monotonic, lambda: utc() + ahead)
    world.cluster.access._clock = stepped


# ---- who is let in ----


@virtual_time
async def test_who_somebody_is_says_the_certificate_alone() -> None:
    async with master() as world:
        certificate, made = await shown(world, NODE)
        who = admit(world, certificate)
        assert (who.principal, who.source) == (NODE, "10.0.0.9")
        assert made.not_after is not None
        assert who.not_after == made.not_after.timestamp()
        [record] = world.cluster.certificates.of(NODE)
        assert who.serial == record.serial
        assert await trail(world, "Session") == [], "noted when the session opens"


@virtual_time
async def test_who_may_not_is_refused_and_noted() -> None:
    async with master() as world:
        agent, _ = await shown(world, NODE)
        viewer, _ = await shown(world, Principal(Role.VIEWER, "eva"))
        for certificate, actor, hint in (
            (agent, "agent:id-n1", "that is for admin"),
            (viewer, "viewer:eva", "that is for admin"),
            (None, "anonymous", "needs a certificate"),
        ):
            with pytest.raises(PermissionDenied, match=hint):
                admit(world, certificate, REMOVE)
            entry = (await trail(world, "RemoveNode"))[-1]
            assert (entry.actor, entry.allowed, entry.source) == (actor, False, "10.0.0.9:4000")
        with pytest.raises(PermissionDenied, match="for nobody"):
            admit(world, agent, "/piccolo.v1.NodeAgentService/Invented")


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["spiffe://{other}/admin/eva"],
        ["spiffe://{ours}/master/eva"],
        ["spiffe://{ours}/admin/eva", "spiffe://{ours}/viewer/eva"],
        ["https://{ours}/admin/eva"],
    ],
)
@virtual_time
async def test_a_certificate_that_names_nobody_of_ours(uris: list[str]) -> None:
    async with master() as world:
        certificate, _ = await shown(world, ADMIN)
        ours = world.cluster.id
        names = [("URI", u.format(ours=ours, other="other")) for u in uris]
        certificate["subjectAltName"] = (("DNS", "piccolo-master"), *names)
        with pytest.raises(PermissionDenied, match="nobody of this cluster"):
            admit(world, certificate, REMOVE)
        [entry] = await trail(world, "RemoveNode")
        assert (entry.actor, entry.allowed) == ("anonymous", False)


# ---- what is noted ----


@virtual_time
async def test_what_changes_something_is_noted_with_its_outcome() -> None:
    async with master() as world:
        access: AccessControl = world.cluster.access
        admin, _ = await shown(world, ADMIN)
        outcomes: list[BaseException | None] = [
            None,
            Conflict("not now"),
            PermissionDenied("not yours", why="the truth"),
            asyncio.CancelledError(),
        ]
        for outcome in outcomes:
            who = admit(world, admin, REMOVE)
            who.subject = "node n1"
            access.ended(REMOVE, who, outcome)
        who = admit(world, admin, CLIENTS + "GetNodes")
        access.ended(CLIENTS + "GetNodes", who, None)
        told = [(e.object, e.allowed, e.reason) for e in await trail(world) if "admin" in e.actor]
        assert told == [
            ("node n1", True, ""),
            ("node n1", True, "failed: not now"),
            ("node n1", False, "the truth"),
        ]


# ---- certificates that end ----


@virtual_time
async def test_a_revoked_certificate_is_out_at_once() -> None:
    async with master() as world:
        c = world.cluster
        mine, _ = await shown(world, NODE)
        other, _ = await shown(world, Principal(Role.AGENT, "id-n2"))
        async with call(world, mine) as cut, call(world, other) as stays:
            await c.certificates.revoke(c.certificates.of(NODE), "stolen")
            await asyncio.sleep(0.1)
            assert cut.cancelled()
            assert not stays.done()
            with pytest.raises(PermissionDenied, match="revoked: stolen"):
                admit(world, mine)
        assert c.access.blocked("10.0.0.9") == 0
        entry = (await trail(world, "Session"))[-1]
        assert (entry.actor, entry.allowed) == ("agent:id-n1", False)


@virtual_time
async def test_who_revokes_his_own_certificate_still_hears_the_answer() -> None:
    async with master() as world:
        certificates = world.cluster.certificates
        mine, _ = await shown(world, ADMIN)

        async def revoke() -> int:
            admit(world, mine, REMOVE)
            gone = await certificates.revoke(certificates.of(ADMIN), "leaving")
            await asyncio.sleep(0)
            return len(gone)

        assert await asyncio.create_task(revoke()) == 1


@virtual_time
async def test_a_connection_does_not_outlive_its_certificate() -> None:
    async with master() as world:
        certificate, _ = await shown(world, NODE)
        async with call(world, certificate) as running:
            await asyncio.sleep(HOUR.total_seconds() - 5)
            assert not running.done()
            await asyncio.sleep(15)
            assert running.cancelled()
        with pytest.raises(PermissionDenied, match="expired; connect with a newer one"):
            admit(world, certificate)
        admit(world, certificate, RENEW)  # that it may still do


@virtual_time
async def test_a_renewed_certificate_lets_old_connections_live_on() -> None:
    async with master() as world:
        certificate, _ = await shown(world, NODE)
        bystander, _ = await shown(world, Principal(Role.AGENT, "id-n2"))
        async with call(world, certificate) as running, call(world, bystander) as other:
            await asyncio.sleep(1800)
            request = machine("access").request  # not shown: not yet valid by OpenSSL's clock
            new = await world.cluster.certificates.issue(NODE, request, HOUR)
            assert new.not_after is not None
            world.cluster.access.renewed(NODE, new.not_after.timestamp())
            await asyncio.sleep(1900)
            assert not running.done()
            assert other.cancelled(), "it has none"
            # A new call on the old connection goes by what is known of its holder.
            async with call(world, certificate) as later:
                await asyncio.sleep(1690)
                assert not later.done()
                await asyncio.sleep(20)
                assert running.cancelled()
                assert later.cancelled()
            with pytest.raises(PermissionDenied, match="expired"):
                admit(world, certificate)


@pytest.mark.parametrize("ahead", [timedelta(days=400), timedelta(days=-400)])
@virtual_time
async def test_a_step_of_the_clock_cuts_nobody_off(ahead: timedelta) -> None:
    async with master() as world:
        certificate, _ = await shown(world, NODE)
        async with call(world, certificate) as running:
            set_clock(world, ahead)
            await asyncio.sleep(HOUR.total_seconds() - 60)
            assert not running.done()
            await asyncio.sleep(70)
            assert running.cancelled(), "in its own time"


# ---- who is blocked ----


def fail(world: World, host: str, times: int) -> list[PiccoloError]:
    """What somebody without a certificate is told each time."""
    told: list[PiccoloError] = []
    for _ in range(times):
        with pytest.raises(PiccoloError) as error:
            admit(world, None, REMOVE, host)
        told.append(error.value)
    return told


@virtual_time
async def test_sources_that_fail_are_blocked_for_growing_pauses() -> None:
    async with master() as world:
        access = world.cluster.access
        assert len(fail(world, "10.9.9.9", 5)) == 5
        assert (access.blocked("10.9.9.9"), world.events("SourceBlocked")) == (0, [])
        fail(world, "10.9.9.9", 1)
        assert access.blocked("10.9.9.9") == 1.0
        [event] = world.events("SourceBlocked")
        assert event.message.startswith("6 failed attempts to get in; blocked for 1 s")
        [entry] = await trail(world, "BlockSource")
        assert (entry.actor, entry.object) == ("master", "10.9.9.9")

        before = len(await trail(world))
        [error] = fail(world, "10.9.9.9", 1)
        assert isinstance(error, Unavailable), "an honest node goes on trying"
        assert "wait 1 s" in str(error)
        assert len(await trail(world)) == before, "what led to it is in the trail already"
        with pytest.raises(PermissionDenied):
            admit(world, None, REMOVE, "10.9.9.8")  # its neighbour

        await asyncio.sleep(1.1)
        fail(world, "10.9.9.9", 1)
        assert access.blocked("10.9.9.9") == 2.0
        await asyncio.sleep(700)
        fail(world, "10.9.9.9", 5)
        assert access.blocked("10.9.9.9") == 0, "time heals"


@virtual_time
async def test_a_block_does_not_touch_who_has_a_certificate() -> None:
    async with master() as world:
        certificate, _ = await shown(world, NODE)
        fail(world, "10.0.0.9", 6)
        assert world.cluster.access.blocked("10.0.0.9") > 0
        assert admit(world, certificate).principal == NODE
        for _ in range(20):  # nor does he who asks for too much get his neighbours blocked
            with pytest.raises(PermissionDenied):
                admit(world, certificate, REMOVE, "10.0.0.7")
        assert world.cluster.access.blocked("10.0.0.7") == 0


@virtual_time
async def test_failed_handshakes_count_and_are_noted() -> None:
    async with master() as world:
        access = world.cluster.access
        for _ in range(6):
            access.handshake_failed("10.9.9.9", "its certificate is of another authority")
        assert access.blocked("10.9.9.9") == 1.0
        entry = (await trail(world, "TLSHandshake"))[0]
        assert (entry.actor, entry.allowed) == ("anonymous", False)
        assert entry.reason == "its certificate is of another authority"
        assert world.events("SourceBlocked")


@virtual_time
async def test_guessing_is_noted_once_and_counted() -> None:
    """An attacker fills no disk: the same again within 10 s is one record with its number."""
    async with master() as world:
        for _ in range(300):
            fail(world, "10.9.9.9", 1)
            await asyncio.sleep(0.01)
        await asyncio.sleep(30)
        found = [e for e in await trail(world, "RemoveNode") if not e.allowed]
        assert 1 <= len(found) <= 3


@virtual_time
async def test_what_has_ended_is_forgotten() -> None:
    async with master() as world:
        certificate, _ = await shown(world, NODE)
        for _ in range(3):
            async with call(world, certificate):
                assert len(world.cluster.access._running) == 1
            assert world.cluster.access._running == {}
