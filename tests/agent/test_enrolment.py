"""How a node gets in, and back in: with real masters, and with somebody who pretends to be one."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from piccolo.agent.enrolment import Enrolment
from piccolo.agent.pki import Pki
from piccolo.agent.workloads.desired import Desired
from piccolo.config.settings import ListedNode, SecuritySettings
from piccolo.core.errors import InvalidSpec, PermissionDenied
from piccolo.core.model import NodeState
from piccolo.core.security.access import Principal, Role
from piccolo.core.security.token import JoinToken
from piccolo.master.cluster import Cluster
from piccolo.security.authority import Authority
from piccolo.security.files import write_private
from piccolo.security.request import fingerprint_in, prepare
from piccolo.security.tls import unverified_context
from tests.agent.workloads.specs import everything, spec
from tests.agent.world import (
    SETTLE,
    Agent,
    Conversation,
    Known,
    agent,
    master,
    scripted,
    until,
)
from tests.master import insiders
from tests.master.memory_store import Disk
from tests.master.security.audit_world import records
from tests.master.virtual_time import utc, virtual_time
from tests.runtime.fake import FakeRuntime

pytestmark = pytest.mark.slow  # real TLS, over and over

NODE = Principal(Role.AGENT, "id-n1")


async def new_token(cluster: Cluster, **options: Any) -> str:
    pin = cluster.certificates.trust.current.fingerprint
    _, token = await cluster.tokens.create(pin, **options)
    return token.text


def ready(cluster: Cluster) -> bool:
    return cluster.state.status("id-n1").state is NodeState.READY


async def has_joined(cluster: Cluster, pki: Path) -> None:
    """The node was there, and has the certificate that the master gives to whom it does not know:
    later, that one would take the place of what the test gives."""
    first = (pki / "node.crt").read_text()
    async with agent(cluster.pulse_port, pki=pki):
        await until(lambda: ready(cluster) and (pki / "node.crt").read_text() != first)


def foreign() -> Authority:
    return Authority.create("PICCOLO test", datetime.now(UTC))


def times(made: datetime, not_after: datetime) -> str:
    return f"Made: {made.isoformat()}\nNot After: {not_after.isoformat()}\n"


def give(
    pki: Path, cluster: Cluster, lifetime: timedelta, *, told: timedelta | None = None
) -> None:
    """A certificate of the master's, without a record; `told` how long the node believes in it."""
    by = cluster.certificates.trust.current
    found = insiders.signed(
        NODE, insiders.machine("id-n1"), by=by, cluster_id=cluster.id, now=utc(), lifetime=lifetime
    )
    text = times(found.not_before, found.not_before + (told or lifetime))
    write_private(pki / "node.crt", text + found.pem)
    write_private(pki / "ca.crt", by.pem)


async def ended(agent: Agent) -> None:
    """Raises what ended the agent."""
    async with asyncio.timeout(60):
        await agent.run


# ---- the first time ----


@virtual_time(settle=SETTLE)
async def test_a_token_is_needed_once(tmp_path: Path) -> None:
    disk, pki = Disk(), prepare(tmp_path)
    async with master(disk) as cluster:
        token = await new_token(cluster)
        async with agent(cluster.pulse_port, pki=pki, token=token) as a:
            await until(lambda: ready(cluster))
            assert a.pki.pins == [cluster.certificates.trust.current.fingerprint]
            assert a.identity.cluster_id == cluster.id
        async with agent(cluster.pulse_port, pki=pki):
            await until(lambda: bool(cluster.sessions.all()) and ready(cluster))
        async with agent(cluster.pulse_port, pki=pki, token=token):  # it stays in its settings
            await until(lambda: bool(cluster.sessions.all()) and ready(cluster))
        assert sum(len(cluster.tokens.uses(t)) for t in cluster.tokens.all()) == 1
        assert len(cluster.certificates.of(NODE)) == 1


@virtual_time(settle=SETTLE)
async def test_without_a_token_a_new_node_is_told_where_to_get_one(tmp_path: Path) -> None:
    async with master() as cluster, agent(cluster.pulse_port, pki=prepare(tmp_path)) as a:
        with pytest.raises(PermissionDenied, match="piccolo token create"):
            await ended(a)
        assert cluster.state.nodes() == []


def test_what_is_no_token_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    pki = Pki(prepare(tmp_path))
    with pytest.raises(InvalidSpec, match="no join token"):
        Enrolment(pki, "piccolo1.almost", "")


@virtual_time(settle=SETTLE)
async def test_a_listed_key_and_a_pin_are_as_good_as_a_token(tmp_path: Path) -> None:
    listed = ListedNode("n1", key_fingerprint=fingerprint_in(tmp_path))
    async with master(Disk(), nodes=(listed,)) as cluster:
        pin = cluster.certificates.trust.current.fingerprint
        async with agent(cluster.pulse_port, pki=tmp_path / "pki", pin=pin):
            await until(lambda: ready(cluster))


@virtual_time(settle=SETTLE)
async def test_a_node_waits_for_a_master_that_is_not_there_yet(tmp_path: Path) -> None:
    disk = Disk()
    async with master(disk) as cluster:
        port, token = cluster.pulse_port, await new_token(cluster)
    async with agent(port, pki=prepare(tmp_path), token=token) as a:
        await asyncio.sleep(60)
        assert not a.run.done()
        async with master(disk, port) as cluster:
            await until(lambda: ready(cluster))


@virtual_time(settle=SETTLE)
async def test_a_node_of_a_lost_cluster_runs_on_until_its_workloads_are_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The new master does not rebuild: it would end all that it does not know."""
    web, data, runtime = spec("web"), tmp_path / "data", FakeRuntime()
    pki = insiders.joined_pki(tmp_path / "pki", "id-n1")
    authority = foreign()
    write_private(pki / "ca.crt", authority.pem)
    data.mkdir()
    Desired(data / "workloads").take_over(everything(web))
    known = Known("id-n1", "old")

    def runs() -> bool:
        return any(c.state == "running" for c in runtime._containers.values())

    async with master() as cluster:
        token = await new_token(cluster)
        arguments: dict[str, Any] = {"pki": pki, "token": token, "data": data, "identity": known}
        async with agent(cluster.pulse_port, runtime=runtime, **arguments) as a:
            await until(runs)
            await asyncio.sleep(300)
            assert not a.run.done()
            assert runs()
            assert a.pki.ca == authority.pem, "it would know its old master again"
            assert known.cluster_id == "old"
        assert caplog.text.count("n1 still runs 1 workload of another cluster (web)") == 2
        assert cluster.state.nodes() == []
        shutil.rmtree(data / "workloads")
        async with agent(cluster.pulse_port, runtime=runtime, **arguments):
            await until(lambda: ready(cluster) and not runtime._containers, 60)
        assert known.cluster_id == cluster.id


# ---- somebody in between ----


@dataclass
class Middle:
    """Ends TLS with a certificate of his own, and writes down all that he can read."""

    port: int = 0
    read: list[bytes] = field(default_factory=list)  # of each connection
    tls: ssl.SSLContext = field(default_factory=lambda: insiders.serving_tls(foreign()))


@asynccontextmanager
async def in_between(master_port: int) -> AsyncIterator[Middle]:
    """Passes on to the master, word for word, what he is told, and what it answers."""
    middle = Middle()
    tasks: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        tasks.add(me)
        number = len(middle.read)
        middle.read.append(b"")
        theirs, ours = await asyncio.open_connection(
            "127.0.0.1", master_port, ssl=unverified_context(), server_hostname="piccolo-master"
        )

        async def upward() -> None:
            while data := await reader.read(65536):
                middle.read[number] += data
                ours.write(data)

        async def downward() -> None:
            while data := await theirs.read(65536):
                writer.write(data)

        halves = [asyncio.create_task(upward()), asyncio.create_task(downward())]
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
            ours.transport.abort()
            writer.transport.abort()

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=middle.tls)
    middle.port = server.sockets[0].getsockname()[1]
    try:
        yield middle
    finally:
        server.close()
        await server.wait_closed()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)


@virtual_time(settle=SETTLE)
async def test_a_man_in_the_middle_gets_nothing(tmp_path: Path) -> None:
    """He shows the master's own authority, which is public; but he has not its key."""
    async with master() as cluster, in_between(cluster.pulse_port) as middle:
        token = await new_token(cluster)
        pki = prepare(tmp_path)
        async with agent(middle.port, pki=pki, token=token) as a:
            with pytest.raises(PermissionDenied, match="not signed by one that we trust"):
                await ended(a)
        read = b"".join(middle.read)
        assert len([r for r in middle.read if r]) == 1, "only the question for the authority"
        assert read.count(b"\x00\x00\x00\x00\x00") >= 1, "an empty message"
        for secret in (JoinToken.parse(token).secret, JoinToken.parse(token).id, "n1", "BEGIN"):
            assert secret.encode() not in read
        assert cluster.state.nodes() == []
        assert not any(cluster.tokens.uses(t) for t in cluster.tokens.all())
        async with agent(cluster.pulse_port, pki=pki, token=token):  # the way is free again
            await until(lambda: ready(cluster))


async def _never(c: Conversation) -> None:
    raise AssertionError("it must not come so far")


@virtual_time(settle=SETTLE)
async def test_a_false_master_is_asked_for_its_authority_and_nothing_else(tmp_path: Path) -> None:
    """He shows an authority of his own."""
    token = JoinToken.make(b"x" * 23, insiders.authority().fingerprint)
    pki = prepare(tmp_path)
    async with scripted(_never, by=foreign()) as m, agent(m.port, pki=pki, token=token.text) as a:
        with pytest.raises(PermissionDenied, match="somebody is in between") as error:
            await ended(a)
        assert token.secret not in str(error.value)
        assert m.door.asked == ["GetTrustBundle"]
        assert not (pki / "ca.crt").exists()


@virtual_time(settle=SETTLE)
async def test_who_has_joined_says_nothing_to_a_false_master(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And waits for the right one: the wrong one may go away."""
    known = Known(cluster_id="cluster-1")
    async with scripted(_never, by=foreign()) as m, agent(m.port, identity=known) as a:
        await asyncio.sleep(60)
        assert not a.run.done()
        assert (m.door.asked, m.conversations) == ([], [])
    assert "not signed by one that we trust" in caplog.text


# ---- back in ----


@virtual_time(settle=SETTLE)
async def test_who_overslept_is_let_in_by_its_old_certificate(tmp_path: Path) -> None:
    pki = insiders.joined_pki(tmp_path / "pki", "id-n1")
    async with master() as cluster:
        await has_joined(cluster, pki)
        give(pki, cluster, timedelta(seconds=5))
        await asyncio.sleep(10)
        async with agent(cluster.pulse_port, pki=pki) as a:
            await until(lambda: bool(cluster.sessions.all()) and ready(cluster))
            assert a.pki.certificate.not_after > time.time() + 3600
        reasons = [e.reason for e in cluster.events.newest()]
        assert reasons.count("CertificateRenewedLate") == 1


@virtual_time(settle=SETTLE)
async def test_a_master_that_finds_it_expired_says_so_and_is_believed(tmp_path: Path) -> None:
    """By the agent's own clock, which is slow, the certificate still holds."""
    pki = insiders.joined_pki(tmp_path / "pki", "id-n1")
    async with master() as cluster:
        await has_joined(cluster, pki)
        give(pki, cluster, timedelta(seconds=1), told=timedelta(days=30))
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 1.5)  # OpenSSL's clock
        async with agent(cluster.pulse_port, pki=pki) as a:
            before = a.pki.certificate
            await until(lambda: bool(cluster.sessions.all()) and ready(cluster))
            assert a.pki.certificate != before


@virtual_time(settle=SETTLE)
async def test_who_slept_too_long_is_told_what_to_do_and_needs_a_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = SecuritySettings(expired_grace=60.0)
    pki = insiders.joined_pki(tmp_path / "pki", "id-n1")
    async with master(security=short) as cluster:
        await has_joined(cluster, pki)
        give(pki, cluster, timedelta(seconds=5))
        await asyncio.sleep(90)
        known = Known("id-n1", cluster.id)
        async with agent(cluster.pulse_port, pki=pki, identity=known) as a:
            await asyncio.sleep(120)
            assert not a.run.done()
            assert cluster.sessions.all() == []
        assert "the certificate of this node has expired" in caplog.text
        assert "piccolo token create" in caplog.text
        caplog.clear()
        token = await new_token(cluster, node="n1")
        async with agent(cluster.pulse_port, pki=pki, identity=known, token=token):
            # Its address is blocked for what it tried before, and once more for what it tries now.
            await until(lambda: bool(cluster.sessions.all()) and ready(cluster), 120)
            assert caplog.text.count("too many failed attempts") == 1, (
                "said once, though time passes"
            )


@virtual_time(settle=SETTLE)
async def test_another_authority_under_a_running_agent_does_no_harm_until_it_starts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pki = insiders.joined_pki(tmp_path / "pki", "id-n1")
    async with master() as cluster:
        known = Known("id-n1", cluster.id)
        async with agent(cluster.pulse_port, pki=pki, identity=known):
            await until(lambda: ready(cluster))
            await asyncio.sleep(5)
            write_private(pki / "ca.crt", foreign().pem)
            generation = cluster.state.live("id-n1").generation
            cluster.sessions.all()[0].end()
            await until(lambda: cluster.state.live("id-n1").generation > generation)
            await until(lambda: ready(cluster))
        async with agent(cluster.pulse_port, pki=pki, identity=known) as a:
            await asyncio.sleep(30)
            assert not a.run.done()
            assert cluster.sessions.all() == []
        assert "not signed by one that we trust" in caplog.text
        token = await new_token(cluster)
        async with agent(cluster.pulse_port, pki=pki, identity=known, token=token) as a:
            await until(lambda: bool(cluster.sessions.all()) and ready(cluster))
            assert a.pki.pins == [insiders.authority().fingerprint]


@pytest.mark.parametrize("joined", [False, True])
@virtual_time(settle=SETTLE)
async def test_an_agent_whose_clock_is_not_set_yet_waits_for_it(
    tmp_path: Path, joined: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """For a clock of 1970 every certificate lies in the future: here, that of the master does."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    async def script(c: Conversation) -> None:
        await c.welcome()
        await c.serve()

    token = JoinToken.make(b"x" * 23, insiders.authority().fingerprint).text
    how: dict[str, Any] = {} if joined else {"pki": prepare(tmp_path), "token": token}
    async with scripted(script, now=tomorrow) as m, agent(m.port, **how) as a:
        await asyncio.sleep(60)
        assert not a.run.done()
        assert m.registrations == []
        assert caplog.text.count("not valid yet by this machine's clock, which says") == 1
        m.server.tls = insiders.serving_tls()  # the clock is set
        await until(lambda: m.conversations, 6)


# ---- refused ----


@virtual_time(settle=SETTLE)
async def test_a_node_that_is_refused_does_not_storm_the_master(tmp_path: Path) -> None:
    """Its pulses are answered for a while: that alone is no reason to try again."""
    disk = Disk()
    pki = prepare(tmp_path)
    async with master(disk) as cluster:
        token = await new_token(cluster)
        async with agent(cluster.pulse_port, pki=pki, token=token) as a:
            await until(lambda: ready(cluster))
            certificates = cluster.certificates
            await certificates.revoke(certificates.of(NODE), "stolen")
            await asyncio.sleep(120)
            assert not a.run.done()
            assert cluster.sessions.all() == []
    denied = [r.entry for r in records(disk.directory / "audit") if not r.entry.allowed]
    assert 4 <= sum(e.count for e in denied) <= 40
    assert any("stolen" in e.reason for e in denied)
