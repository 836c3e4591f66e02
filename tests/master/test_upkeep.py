"""What is done from time to time: renewed, retired, warned of; and by which clock."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from piccolo.config.settings import SecuritySettings
from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.core.security.access import Principal, Role
from piccolo.master.clock import STEADY_AFTER, Clock
from piccolo.master.security import trust as trust_module
from piccolo.master.upkeep import ADMIN, Upkeep
from piccolo.rpc.server import Caller
from piccolo.security import authority as ca
from piccolo.security.context import Context, load
from piccolo.security.tls import client_context
from tests.master.insiders import machine
from tests.master.virtual_time import utc, virtual_time
from tests.master.world import World, master
from tests.security.handshake import shake

HOUR = 3600.0
# Shorter than a day: virtual time passes quickly, but not for nothing.
SHORT = SecuritySettings(certificate_lifetime=3 * HOUR, expired_grace=HOUR, overlap=HOUR)


@dataclass
class TimeOfDay:
    ahead: timedelta = timedelta(0)  # by which it was set

    def utc(self) -> datetime:
        return utc() + self.ahead


@dataclass
class Kept:
    world: World
    upkeep: Upkeep
    time_of_day: TimeOfDay
    contexts: list[ssl.SSLContext] = field(default_factory=list)  # for the server

    @property
    def path(self) -> Path:
        return self.world.disk.directory / "admin.yaml"

    def admin(self) -> Context:
        return load(self.path)


@asynccontextmanager
async def keeping(*, runs: bool = False, **settings: Any) -> AsyncIterator[Kept]:
    """A master's upkeep; with `runs` as the master's role has it run."""
    async with master(**{"security": SHORT, **settings}) as world:
        c, time_of_day = world.cluster, TimeOfDay()
        c.clock = c.certificates._clock = Clock(c.clock.monotonic, time_of_day.utc)
        c.addresses = ("10.0.0.1:50051",)
        upkeep = Upkeep(c, world.disk.directory / "admin.yaml")
        kept = Kept(world, upkeep, time_of_day)
        upkeep.on_tls = kept.contexts.append
        if not runs:
            yield kept
            return
        await upkeep.once()
        task = asyncio.create_task(upkeep.run())
        try:
            yield kept
        finally:
            task.cancel()
            await asyncio.wait([task])


def master_serial(kept: Kept) -> str:
    return ca.serial_of(kept.world.cluster.certificates.trust.master)


# ---- the administrator of the master's own machine ----


@virtual_time
async def test_an_administrator_is_made_at_the_first_start_and_kept() -> None:
    async with keeping() as kept:
        assert await kept.upkeep.once()
        admin = kept.admin()
        assert (admin.role, admin.masters) == ("admin", ("10.0.0.1:50051",))
        assert admin.cluster == kept.world.cluster.id
        assert kept.path.stat().st_mode & 0o777 == 0o600
        trust = kept.world.cluster.certificates.trust
        seen = shake(trust.tls(), client_context(admin.ca, admin.certificate, admin.key))
        assert seen is not None
        assert ("URI", f"spiffe://{admin.cluster}/admin/admin") in seen["subjectAltName"]
        assert await kept.upkeep.once()
        assert kept.admin() == admin, "nothing was due"


@virtual_time
async def test_it_is_written_anew_when_something_is_amiss() -> None:
    async with keeping() as kept:
        c = kept.world.cluster
        await kept.upkeep.once()

        async def renewed() -> bool:
            before = kept.admin().certificate if kept.path.exists() else ""
            await asyncio.sleep(1)
            await kept.upkeep.once()
            return kept.admin().certificate != before

        assert not await renewed()
        c.addresses = ("10.0.0.2:50051",)
        assert await renewed()
        c.listens_everywhere, c.pulse_port = True, 50051
        assert await renewed()
        assert kept.admin().masters == ("127.0.0.1:50051", "10.0.0.2:50051")
        await c.certificates.revoke(c.certificates.of(ADMIN), "lost")
        assert await renewed()
        kept.path.unlink()
        assert await renewed()
        kept.path.write_text("garbage")
        kept.path.chmod(0o600)
        await kept.upkeep.once()
        assert kept.admin().role == "admin"
        await asyncio.sleep(HOUR * 1.9)
        assert not await renewed()
        await asyncio.sleep(HOUR * 0.2)  # two thirds are over
        assert await renewed()


@virtual_time
async def test_others_can_read_it_and_it_is_replaced() -> None:
    async with keeping() as kept:
        await kept.upkeep.once()
        kept.path.chmod(0o644)
        with pytest.raises(InvalidSpec):
            kept.admin()
        await kept.upkeep.once()
        assert kept.path.stat().st_mode & 0o777 == 0o600


# ---- in its own time ----


@virtual_time
async def test_certificates_are_renewed_before_they_expire() -> None:
    async with keeping(runs=True) as kept:
        await asyncio.sleep(1)
        first, admin = master_serial(kept), kept.admin()
        await asyncio.sleep(HOUR * 1.9)
        assert (master_serial(kept), kept.contexts) == (first, [])
        await asyncio.sleep(HOUR * 0.3)
        assert master_serial(kept) != first
        assert kept.contexts == [kept.world.cluster.certificates.trust.tls()]
        assert kept.admin().not_after > admin.not_after
        await asyncio.sleep(HOUR * 8)
        assert len(kept.contexts) == 5, "and so on"
        assert kept.admin().not_after > utc()


@virtual_time
async def test_a_revoked_administrator_is_replaced_at_once() -> None:
    async with keeping(runs=True) as kept:
        await asyncio.sleep(1)
        before = kept.admin()
        c, access = kept.world.cluster.certificates, kept.world.cluster.access
        [record] = c.of(ADMIN)
        call = asyncio.create_task(asyncio.sleep(60))
        access._running[call] = (Caller("10.0.0.1:1", ADMIN, record.serial), float("inf"))
        await c.revoke([record], "lost")
        await asyncio.sleep(0.1)
        assert kept.admin() != before
        assert call.cancelled(), "and whoever had it is cut off"


@virtual_time
async def test_a_new_authority_reaches_everybody_who_is_connected() -> None:
    async with keeping(runs=True) as kept:
        c = kept.world.cluster
        session = await kept.world.joined()
        await asyncio.sleep(1)
        session.drain()
        old = c.certificates.trust.current.fingerprint
        await c.certificates.rotate("piccolo")
        await asyncio.sleep(0.1)
        [told] = [m.trust for m in session.drain() if m.trust]
        assert (told.ca_pem, told.renew) == (c.certificates.trust.bundle, True)
        assert kept.contexts[-1] is c.certificates.trust.tls()
        assert kept.admin().ca == c.certificates.trust.bundle
        assert c.certificates.retires_at(old) is not None

        await asyncio.sleep(HOUR + 600)
        assert c.certificates.trust.retiring == [], "its time is over"
        bundles = [m.trust.ca_pem for m in session.drain() if m.trust]
        assert bundles == [c.certificates.trust.current.pem]
        assert kept.admin().ca == c.certificates.trust.current.pem
        assert kept.world.events("AuthorityRetired")


@virtual_time
async def test_who_has_to_act_is_warned_once_and_told_when_it_is_too_late() -> None:
    async with keeping(runs=True) as kept:
        c, world = kept.world.cluster, kept.world
        await world.register("n1")
        request = machine("upkeep").request
        await c.certificates.issue(Principal(Role.AGENT, "id-n1"), request)
        await c.certificates.issue(Principal(Role.VIEWER, "eva"), request)
        await asyncio.sleep(HOUR * 2.3)
        assert world.events("CertificateExpiring") == []
        await asyncio.sleep(HOUR * 0.6)
        told = {e.subject: e for e in world.events("CertificateExpiring")}
        assert set(told) == {"n1", "eva"}, "not of those that renew themselves"
        assert "its agent renews it" in told["n1"].message
        assert "piccolo context renew" in told["eva"].message
        assert (told["n1"].node_name, told["eva"].node_name) == ("n1", "")
        await asyncio.sleep(HOUR)
        assert len(world.events("CertificateExpiring")) == 2


@virtual_time
async def test_one_that_expired_while_the_master_was_away_is_told_as_that() -> None:
    async with keeping() as kept:
        request = machine("upkeep").request
        await kept.world.cluster.certificates.issue(Principal(Role.VIEWER, "eva"), request)
        await asyncio.sleep(HOUR * 4)
        await kept.upkeep.once()
        await kept.upkeep.once()
        [event] = kept.world.events("CertificateExpired")
        assert event.subject == "eva"


# ---- trouble ----


@virtual_time
async def test_what_failed_is_tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(runs=True) as kept:
        await asyncio.sleep(1)
        first = master_serial(kept)

        def full(*_: object) -> None:
            raise Unavailable("the disk is full")

        monkeypatch.setattr(trust_module, "write_private", full)
        await asyncio.sleep(HOUR * 2.2)
        assert (master_serial(kept), kept.contexts) == (first, [])
        admin = kept.admin()
        assert admin.not_after > utc() + timedelta(hours=2), "the others are seen to"
        monkeypatch.undo()
        await asyncio.sleep(70)
        assert master_serial(kept) != first


@virtual_time
async def test_a_store_that_is_away_ends_nothing() -> None:
    async with keeping(runs=True) as kept:
        kept.world.store.away = "no route"
        kept.path.unlink()
        await asyncio.sleep(HOUR)
        assert not kept.path.exists()
        assert not await kept.upkeep.once()
        kept.world.store.away = ""
        await asyncio.sleep(70)
        assert kept.admin().role == "admin"


# ---- the time of day ----


@pytest.mark.parametrize("days", [400, -400, -20_000, 4000])
@virtual_time
async def test_a_step_of_the_clock_is_told_and_throws_nothing_away(days: int) -> None:
    async with keeping(runs=True, security=SecuritySettings()) as kept:
        c = kept.world.cluster.certificates
        request = machine("upkeep").request
        await c.issue(Principal(Role.VIEWER, "eva"), request)
        await c.rotate("piccolo")
        await asyncio.sleep(30)
        kept.time_of_day.ahead = timedelta(days=days)
        await asyncio.sleep(HOUR)
        [event] = kept.world.events("ClockStepped")
        assert f"{'forward' if days > 0 else 'back'} by {abs(days) * 86400} s" in event.message
        assert len(c.trust.retiring) == 1
        assert c.of(Principal(Role.VIEWER, "eva")) != []
        kept.time_of_day.ahead = timedelta(0)
        await asyncio.sleep(30)
        assert len(kept.world.events("ClockStepped")) == 2
        assert kept.admin().not_before <= utc() < kept.admin().not_after
        trust = c.trust
        assert trust.master.not_valid_before_utc <= utc() < trust.master.not_valid_after_utc
        assert len(trust.retiring) == 1
        assert c.of(Principal(Role.VIEWER, "eva")) != []


@virtual_time
async def test_a_clock_that_stays_as_it_was_set_is_believed_after_a_day() -> None:
    async with keeping(security=SecuritySettings(overlap=HOUR)) as kept:
        c = kept.world.cluster.certificates
        await c.rotate("piccolo")
        kept.time_of_day.ahead = timedelta(days=2)
        await kept.upkeep.once()
        await asyncio.sleep(STEADY_AFTER - HOUR)
        await kept.upkeep.once()
        assert len(c.trust.retiring) == 1
        await asyncio.sleep(2 * HOUR)
        await kept.upkeep.once()
        assert c.trust.retiring == []
