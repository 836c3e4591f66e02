"""A certificate kept fresh, whatever the clock and the master do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast
from unittest.mock import patch

import pytest

from piccolo.agent.enrolment import Enrolment
from piccolo.agent.pki import Held, Pki
from piccolo.agent.renewal import Renewal
from piccolo.config.settings import SecuritySettings
from piccolo.core.errors import InvalidSpec, PermissionDenied, PiccoloError, Unavailable
from piccolo.core.model import NodeState
from piccolo.core.security.access import Principal, Role
from piccolo.rpc import wire
from piccolo.rpc.client import Connection
from tests.agent.world import SETTLE, Conversation, agent, master, scripted, until
from tests.master import insiders
from tests.master.virtual_time import now, virtual_time

pytestmark = pytest.mark.slow  # real TLS, over and over

DAY = 86400.0
LIFE = 30 * DAY


@dataclass
class Office:
    """The files and the master, in memory; `clock` is what both believe."""

    held: Held
    skew: float = 0.0  # s by which the agent's time of day is wrong
    jitter: float = 0.0
    life: float = LIFE  # s, of what the master gives
    trusted: list[str] = field(default_factory=list)
    refusal: PiccoloError | None = None
    tried: list[float] = field(default_factory=list)  # virtual s
    renewed: list[float] = field(default_factory=list)

    @property
    def certificate(self) -> Held:
        return self.held

    def trust(self, ca_pem: str) -> None:
        if ca_pem == "garbage":
            raise InvalidSpec("these are no certificates")
        self.trusted.append(ca_pem)

    async def renew(self, connection: object) -> None:
        self.tried.append(now())
        if self.refusal is not None:
            raise self.refusal
        self.renewed.append(now())
        made = time.time() - self.skew  # the master's clock is right
        self.held = Held("", made, made + self.life)


@asynccontextmanager
async def renewing(jitter: float = 0.0, skew: float = 0.0) -> AsyncIterator[tuple[Office, Renewal]]:
    right = time.time
    office = Office(Held("", right(), right() + LIFE), skew, jitter)
    with patch.object(time, "time", lambda: right() + office.skew):
        renewal = Renewal(cast(Pki, office), cast(Enrolment, office), cast(Connection, None))
        task = asyncio.create_task(renewal.run())
        try:
            yield office, renewal
        finally:
            task.cancel()
            await asyncio.wait([task])


def days(times: list[float]) -> list[float]:
    return [round(t / DAY, 1) for t in times]


@pytest.mark.parametrize(("jitter", "first"), [(0.0, 20.0), (-1.0, 18.5), (1.0, 21.5)])
@virtual_time
async def test_at_two_thirds_of_its_life_and_so_on(jitter: float, first: float) -> None:
    async with renewing(jitter) as (office, _):
        await asyncio.sleep(45 * DAY)
        assert days(office.renewed) == pytest.approx([first, 2 * first], abs=0.3)


@virtual_time
async def test_a_master_that_cannot_now_is_asked_again_gently() -> None:
    async with renewing() as (office, _):
        await asyncio.sleep(19 * DAY)
        office.refusal = Unavailable("the store is away")
        await asyncio.sleep(6 * DAY)
        assert office.renewed == []
        pauses = [b - a for a, b in pairwise(office.tried)]
        assert len(pauses) >= 10
        assert min(pauses) >= LIFE / 500, "not a storm"
        assert max(pauses) <= LIFE / 40, "nor too late"
        office.refusal = None
        await asyncio.sleep(DAY)
        assert len(office.renewed) == 1


@virtual_time
async def test_a_refusal_is_no_end() -> None:
    async with renewing() as (office, _):
        office.refusal = PermissionDenied("not the key")
        await asyncio.sleep(25 * DAY)
        office.refusal = None
        await asyncio.sleep(DAY)
        assert len(office.renewed) == 1


@virtual_time
async def test_what_the_master_says_of_authorities_is_taken_over_at_once() -> None:
    async with renewing() as (office, renewal):
        await asyncio.sleep(DAY)
        renewal.trust(wire.TrustBundle(ca_pem="new", renew=False))
        await asyncio.sleep(1)
        assert (office.trusted, office.renewed) == (["new"], [])
        renewal.trust(wire.TrustBundle(ca_pem="newer", renew=True))
        await asyncio.sleep(1)
        assert office.trusted == ["new", "newer"]
        assert days(office.renewed) == [1.0]
        await asyncio.sleep(19 * DAY)
        assert len(office.renewed) == 1, "the next in its own time, from then"
        await asyncio.sleep(2 * DAY)
        assert days(office.renewed) == pytest.approx([1.0, 21.0], abs=0.3)


@virtual_time
async def test_authorities_that_change_twice_are_both_taken_over_at_once() -> None:
    async with renewing() as (office, renewal):
        for number in range(3):
            renewal.trust(wire.TrustBundle(ca_pem=f"{number}", renew=number < 2))
            await asyncio.sleep(1)
        assert office.trusted == ["0", "1", "2"]
        assert len(office.renewed) == 2


@virtual_time
async def test_a_shorter_life_is_heeded() -> None:
    async with renewing() as (office, renewal):
        office.life = DAY
        renewal.trust(wire.TrustBundle(ca_pem="new", renew=True))
        await asyncio.sleep(3 * DAY)
        gaps = [b - a for a, b in pairwise(office.renewed)]
        assert len(gaps) >= 3
        assert max(gaps) < 0.75 * DAY


@virtual_time
async def test_a_certificate_that_was_wanted_is_wanted_until_it_comes() -> None:
    async with renewing() as (office, renewal):
        office.refusal = Unavailable("the store is away")
        renewal.trust(wire.TrustBundle(ca_pem="new", renew=True))
        await asyncio.sleep(DAY)
        office.refusal = None
        await asyncio.sleep(DAY)
        assert len(office.renewed) == 1


@virtual_time
async def test_authorities_that_cannot_be_read_change_nothing() -> None:
    async with renewing() as (office, renewal):
        renewal.trust(wire.TrustBundle(ca_pem="garbage", renew=True))
        await asyncio.sleep(10)
        assert (office.trusted, office.tried) == ([], [])
        await asyncio.sleep(21 * DAY)
        assert len(office.renewed) == 1


@pytest.mark.parametrize("skew", [-20_000 * DAY, -365 * DAY, 365 * DAY])
@virtual_time
async def test_a_wrong_clock_makes_it_neither_late_nor_a_storm(skew: float) -> None:
    async with renewing() as (office, _):
        await asyncio.sleep(60)  # a session begins with a clock that TLS could live with
        office.skew = skew
        await asyncio.sleep(60 * DAY)
        assert 2 <= len(office.renewed) <= 65
        made = [0.0, *office.renewed]
        assert max(b - a for a, b in pairwise(made)) < LIFE - DAY, "in time"


@virtual_time
async def test_a_clock_that_is_set_at_last_shows_what_is_due() -> None:
    """It woke up in 1970, with a certificate that was nearly over."""
    async with renewing(skew=-20_000 * DAY) as (office, _):
        office.held = Held("", office.held.made - 25 * DAY, office.held.made + 5 * DAY)
        await asyncio.sleep(600)
        assert office.tried == []
        office.skew = 0.0
        await asyncio.sleep(600)
        assert len(office.renewed) == 1


# ---- with a real master ----

SHORT = SecuritySettings(certificate_lifetime=200.0, expired_grace=200.0, overlap=3600.0)


@pytest.mark.slow
@virtual_time(settle=SETTLE)
async def test_one_session_outlives_many_certificates() -> None:
    async with master(security=SHORT) as cluster, agent(cluster.pulse_port) as a:
        await until(lambda: cluster.state.status("id-n1").state is NodeState.READY)
        generation = cluster.state.live("id-n1").generation
        first = a.pki.certificate
        await asyncio.sleep(450)
        assert a.pki.certificate.not_after > time.time()
        assert a.pki.certificate != first
        records = cluster.certificates.of(Principal(Role.AGENT, "id-n1"))
        assert 3 <= len(records) <= 5
        assert {r.fingerprint for r in records} == {insiders.machine("id-n1").request.fingerprint}
        assert cluster.state.live("id-n1").generation == generation
        assert [e.reason for e in cluster.events.newest() if e.node_name == "n1"] == [
            "Registered",
            "Admitted",
            "NodeAdopted",  # it came with a certificate, and the store did not know it
            "Synced",
        ]


@virtual_time(settle=SETTLE)
async def test_a_new_authority_is_taken_over_without_a_new_session() -> None:
    async with master() as cluster, agent(cluster.pulse_port) as a:
        await until(lambda: cluster.state.status("id-n1").state is NodeState.READY)
        await asyncio.sleep(5)
        generation, old = cluster.state.live("id-n1").generation, a.pki.pins
        certificates = cluster.certificates
        await certificates.rotate("piccolo")
        await asyncio.sleep(5)
        assert a.pki.pins == [certificates.trust.current.fingerprint, *old]
        assert [c.issuer for c in certificates.newest() if c.role == "agent"] == a.pki.pins[:1]
        await certificates.retire(force=True)
        await asyncio.sleep(5)
        assert a.pki.pins == [certificates.trust.current.fingerprint]
        assert cluster.state.live("id-n1").generation == generation
        cluster.sessions.all()[0].end()  # and the next connection holds
        await until(lambda: cluster.state.live("id-n1").generation > generation)
        await until(lambda: cluster.state.status("id-n1").state is NodeState.READY)


@virtual_time(settle=SETTLE)
async def test_a_bundle_that_makes_no_sense_does_not_end_the_session() -> None:
    async def script(c: Conversation) -> None:
        await c.welcome()
        await c.say(trust=wire.TrustBundle(ca_pem="garbage", renew=True))
        await c.serve()

    async with scripted(script) as m, agent(m.port) as a:
        await until(lambda: m.conversations)
        await asyncio.sleep(30)
        assert len(m.conversations) == 1
        assert a.pki.pins == [insiders.authority().fingerprint]
