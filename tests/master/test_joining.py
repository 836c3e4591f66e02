"""How nodes come in: what a token, a key and a certificate are worth, rule by rule."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from piccolo.config.settings import Discovery, ListedNode, SecuritySettings
from piccolo.core.errors import (
    Conflict,
    DuplicateIdentity,
    InvalidSpec,
    PermissionDenied,
    Unavailable,
)
from piccolo.core.model import Node, NodeState, NodeType
from piccolo.core.security.access import ANONYMOUS, Principal, Role
from piccolo.core.security.token import JoinToken
from piccolo.master import keys
from piccolo.master.api_server.joining import register, renew
from piccolo.master.security.tokens import REFUSED
from piccolo.rpc import wire
from piccolo.security.authority import (
    key_fingerprint,
    load_certificate,
    public_key_of,
    uris_of,
)
from tests.master.insiders import Machine, authority, calling, machine, signed
from tests.master.memory_store import Disk
from tests.master.virtual_time import utc, virtual_time
from tests.master.world import World, master

K1, K2 = machine("joining-1"), machine("joining-2")


async def token(world: World, **options: Any) -> str:
    c = world.cluster
    _, made = await c.tokens.create(c.certificates.trust.current.fingerprint, **options)
    return made.text


def message(
    shown: str = "", key: Machine | None = K1, name: str = "n1", **fields: Any
) -> wire.NodeRegistrationRequest:
    credentials = wire.Credentials(token=shown, csr_pem=key.csr if key else "")
    values: dict[str, Any] = {
        "node_id": f"id-{name}",
        "hostname": name,
        "ip_address": "10.0.0.9",
        "instance_id": "run-1",
        "credentials": credentials,
    }
    return wire.NodeRegistrationRequest(**{**values, **fields})


async def join(world: World, *args: Any, **fields: Any) -> wire.NodeRegistrationResponse:
    with calling():
        return await register(world.cluster, message(*args, **fields))


async def come_back(
    world: World, node_id: str = "id-n1", **fields: Any
) -> wire.NodeRegistrationResponse:
    """With a certificate of that node."""
    with calling(Principal(Role.AGENT, node_id)):
        return await register(world.cluster, message(**{"node_id": node_id, **fields}))


def held(world: World, node_id: str = "id-n1") -> list[str]:
    """The keys whose certificates are taken as that node's."""
    found = world.cluster.certificates.of(Principal(Role.AGENT, node_id))
    return [c.fingerprint for c in found]


def node(world: World, node_id: str = "id-n1") -> Node | None:
    return world.cluster.state.node(node_id)


def used(world: World, text: str) -> list[str]:
    wanted = JoinToken.parse(text).id
    [found] = [t for t in world.cluster.tokens.all() if t.id == wanted]
    return [use.node_id for use in world.cluster.tokens.uses(found)]


def refused_because(error: pytest.ExceptionInfo[PermissionDenied], why: str) -> bool:
    """Told nothing; the audit trail knows."""
    return str(error.value) == REFUSED and why in error.value.why


# ---- what is of another cluster ----

OLD: dict[str, Any] = {"held_cluster_id": "old", "held_workloads": ["a", "b"], "held_count": 2}


@virtual_time
async def test_what_runs_for_another_cluster_is_not_ended_by_mistake() -> None:
    """Its master was lost, and the new one was started without --rebuild."""
    async with master() as world:
        shown = await token(world)
        for _ in range(2):
            with pytest.raises(Conflict, match=r"2 workloads of another cluster \(a, b\): .*--reb"):
                await join(world, shown, **OLD)
        assert (world.cluster.state.nodes(), used(world, shown), held(world)) == ([], [], [])
        assert [e.subject for e in world.events("RunsAnotherClusters")] == ["n1"], "told once"
        with pytest.raises(PermissionDenied):
            await join(world, "", **OLD)
        with pytest.raises(Conflict, match=r"4294967295 workloads .* \(a, …\)"):
            await join(world, shown, **{**OLD, "held_workloads": ["a"], "held_count": 2**32 - 1})
        await join(world, shown, held_cluster_id="old")  # it has given them up
        with pytest.raises(Conflict, match="to end them"):
            await come_back(world, **OLD)
        await come_back(world, **{**OLD, "held_cluster_id": world.cluster.id})


@virtual_time
async def test_who_rebuilds_takes_in_what_is_of_another_cluster() -> None:
    disk = Disk()
    async with master(disk, rebuild=60.0) as world:
        await join(world, await token(world, uses=2), **OLD)
        assert node(world) is not None
        await come_back(world, **OLD)  # it could not say yet what it holds
        await asyncio.sleep(3600)
        await join(world, await token(world), key=K2, name="n2", **OLD)
        returned = {keys.returned("id-n1"): keys.Returned(_restored(world).at)}
        await world.cluster.state.commit(returned)
        with pytest.raises(Conflict):
            await come_back(world, **OLD)
        record = world.cluster.state.get(keys.MASTER, keys.MasterRecord)
        assert record is not None
        restored = keys.Restored(utc() - timedelta(hours=1), utc())
        backup = dataclasses.replace(record, restored=restored)
        await world.cluster.state.commit({keys.MASTER: backup})
        with pytest.raises(Conflict):
            await join(world, await token(world), name="n3", **OLD)


def _restored(world: World) -> keys.Restored:
    found = world.cluster.restored.restored
    assert found is not None
    return found


# ---- by token ----


@virtual_time
async def test_a_token_lets_a_node_in_and_gives_it_a_certificate() -> None:
    async with master() as world:
        shown = await token(world)
        before = len(world.store.commits)
        with calling() as who:
            reply = await register(world.cluster, message(shown))
        assert reply.status is wire.RegistrationStatus.REGISTERED
        assert reply.certificate is not None
        certificate = load_certificate(reply.certificate.certificate_pem)
        assert uris_of(certificate) == [f"spiffe://{world.cluster.id}/agent/id-n1"]
        assert key_fingerprint(public_key_of(certificate)) == K1.request.fingerprint
        assert reply.certificate.ca_pem == world.cluster.certificates.trust.bundle
        assert (held(world), used(world, shown)) == ([K1.request.fingerprint], ["id-n1"])
        kinds = {op.key.split("/")[0] for op in world.store.commits[before]}
        assert {"node", "token-use", "certificate"} <= kinds, "all or nothing"
        assert who.subject == f"node n1, by token {JoinToken.parse(shown).id}"


@virtual_time
async def test_without_the_right_credentials_nobody_comes_in() -> None:
    async with master() as world:
        shown = await token(world)
        with pytest.raises(PermissionDenied, match="--token"):
            await join(world, shown, None)
        with pytest.raises(InvalidSpec, match="no certificate request"):
            await join(world, shown, credentials=wire.Credentials(shown, csr_pem="nonsense"))
        with pytest.raises(InvalidSpec, match="node id"):
            await join(world, shown, node_id="../escape")
        with pytest.raises(PermissionDenied, match=r"no token, and node\.yaml .* SHA256:"):
            await join(world, "")
        for wrong in ("piccolo1.x", shown[:-1], JoinToken.make(b"x" * 23, "SHA256:k").text):
            with pytest.raises(PermissionDenied, match="not valid"):
                await join(world, wrong)
        assert (world.cluster.state.nodes(), used(world, shown), held(world)) == ([], [], [])


@virtual_time
async def test_a_used_token_lets_no_other_machine_in() -> None:
    async with master() as world:
        shown = await token(world)
        await join(world, shown)
        for other in ({"name": "n2"}, {"key": K2}):
            with pytest.raises(PermissionDenied) as error:
                await join(world, shown, **other)
            assert refused_because(error, "used up, by n1")
        assert held(world) == [K1.request.fingerprint]


@virtual_time
async def test_a_reply_that_was_lost_is_asked_for_again() -> None:
    async with master() as world:
        shown = await token(world)
        world.store.answers_lost = True
        with pytest.raises(Unavailable):
            await join(world, shown)
        world.store.answers_lost = False
        await asyncio.sleep(5)
        reply = await join(world, shown)
        assert reply.certificate is not None
        assert used(world, shown) == ["id-n1"]
        assert set(held(world)) == {K1.request.fingerprint}


@virtual_time
async def test_what_the_store_does_not_take_did_not_happen() -> None:
    async with master() as world:
        shown = await token(world)
        world.store.away = "no route"
        with pytest.raises(Unavailable):
            await join(world, shown)
        assert (node(world), held(world), used(world, shown)) == (None, [], [])
        world.store.away = ""
        await asyncio.sleep(5)
        await join(world, shown)


@virtual_time
async def test_a_recorded_join_gives_nothing_to_who_has_not_the_key() -> None:
    """Who repeats it, word for word or from another machine, gets a certificate of a key that he
    does not have, or nothing; and nobody is thrown out.
    """
    async with master() as world:
        shown = await token(world)
        await join(world, shown)
        session = world.connect(world.cluster.state.find_node("n1"))
        reply = await join(world, shown)
        assert reply.certificate is not None
        again = load_certificate(reply.certificate.certificate_pem)
        assert key_fingerprint(public_key_of(again)) == K1.request.fingerprint
        with pytest.raises(DuplicateIdentity, match="data directory is a copy"):
            await join(world, shown, instance_id="run-2")
        assert world.cluster.sessions.of_node("id-n1") is session
        assert world.state_of()[0] is NodeState.READY
        assert used(world, shown) == ["id-n1"]


@virtual_time
async def test_a_removed_node_does_not_come_back_by_its_old_token() -> None:
    async with master() as world:
        shown = await token(world)
        await join(world, shown)
        await world.cluster.remove("n1")
        with pytest.raises(PermissionDenied) as error:
            await join(world, shown)
        assert refused_because(error, "used up")
        assert node(world) is None
        await join(world, await token(world))  # with the same key
        assert held(world) == [K1.request.fingerprint]


# ---- another key, another machine ----


@virtual_time
async def test_a_known_node_with_another_key_needs_a_token_of_its_own() -> None:
    async with master() as world:
        await join(world, await token(world))
        other = await token(world)
        with pytest.raises(Conflict, match="piccolo token create --node n1"):
            await join(world, other, K2)
        assert (held(world), used(world, other)) == ([K1.request.fingerprint], [])

        bound = await token(world, node="n1")
        with calling() as who:
            reply = await register(world.cluster, message(bound, K2))
        assert reply.certificate is not None
        assert who.subject.startswith("node n1, by token")
        assert held(world) == [K2.request.fingerprint]
        gone = [c for c in world.cluster.certificates.all() if c.revoked_at]
        assert [c.fingerprint for c in gone] == [K1.request.fingerprint]
        assert "another key" in gone[0].revoked_reason


@virtual_time
async def test_a_token_for_a_node_replaces_its_machine() -> None:
    async with master() as world:
        await join(world, await token(world))
        with pytest.raises(Conflict, match="belongs to another node"):
            await join(world, unbound := await token(world), K2, node_id="id-new")
        assert used(world, unbound) == []
        session = world.connect(world.cluster.state.find_node("n1"))
        await join(world, await token(world, node="n1"), K2, node_id="id-new")
        assert [(n.id, n.name) for n in world.cluster.state.nodes()] == [("id-new", "n1")]
        assert (held(world), held(world, "id-new")) == ([], [K2.request.fingerprint])
        [goodbye] = [m.goodbye for m in session.drain() if m.goodbye]
        assert goodbye.final
        [removed] = [x for x in world.cluster.certificates.all() if x.name == "id-n1"]
        assert "replaced by the machine id-new" in removed.revoked_reason


@virtual_time
async def test_what_is_meant_for_one_node_takes_over_no_other() -> None:
    """Its name is in the token, or in node.yaml with the key; the id is only what somebody says."""
    listed = (ListedNode("n3", key_fingerprint=K2.request.fingerprint),)
    async with master(nodes=listed) as world:
        await join(world, await token(world))
        bound = await token(world, node="n2")
        for shown, name in ((bound, "n2"), ("", "n3")):
            with pytest.raises(Conflict, match="known with another key"):
                await join(world, shown, K2, name=name, node_id="id-n1")
        assert [n.name for n in world.cluster.state.nodes()] == ["n1"]
        assert (held(world), used(world, bound)) == ([K1.request.fingerprint], [])
        await join(world, bound, name="n2", node_id="id-n1")  # the same key: it is renamed
        assert [n.name for n in world.cluster.state.nodes()] == ["n2"]


# ---- with a certificate ----


@virtual_time
async def test_who_has_joined_needs_no_token_and_uses_none_up() -> None:
    async with master() as world:
        first = await token(world)
        await join(world, first)
        fresh = await token(world)
        for shown in (first, fresh, "nonsense"):
            reply = await come_back(world, shown=shown, labels={"a": "1"})
            assert reply.certificate is None
        assert (used(world, first), used(world, fresh)) == (["id-n1"], [])
        assert len(held(world)) == 1


@virtual_time
async def test_a_certificate_is_good_for_its_own_node_only() -> None:
    async with master() as world:
        await join(world, await token(world))
        await join(world, await token(world), K2, "n2")
        with calling(Principal(Role.AGENT, "id-n2")) as who, pytest.raises(PermissionDenied):
            await register(world.cluster, message(labels={"stolen": "yes"}))
        assert who.subject == "node id-n1"
        found = node(world)
        assert found is not None
        assert found.labels == {}


@virtual_time
async def test_a_node_that_an_older_backup_does_not_know_is_taken_in() -> None:
    disk = Disk()
    async with master(disk) as world:
        backup = disk.copy()
        await join(world, await token(world))
        certificate = world.cluster.certificates.of(Principal(Role.AGENT, "id-n1"))[0]
    async with master(backup) as world:
        who = Principal(Role.AGENT, "id-n1")
        assert not world.cluster.certificates.revoked(who, certificate.serial)
        assert world.cluster.certificates.is_outdated(who, certificate.serial), "to be on record"
        await come_back(world)
        assert world.state_of()[0] is NodeState.INITIALIZING
        with calling(who, serial=certificate.serial):
            await renew(world.cluster, wire.RenewCertificateRequest(csr_pem=K1.csr))
        assert held(world) == [K1.request.fingerprint]


# ---- what node.yaml says ----


@virtual_time
async def test_a_key_in_node_yaml_comes_in_without_a_token_and_no_other_does() -> None:
    mine = ListedNode("n1", key_fingerprint=K1.request.fingerprint)
    async with master(nodes=(mine,), discovery=Discovery.LISTED) as world:
        with pytest.raises(PermissionDenied) as error:
            await join(world, await token(world), K2)
        assert refused_because(error, "node.yaml has another key for n1")
        await join(world)
        assert (held(world), world.state_of()[0]) == (
            [K1.request.fingerprint],
            NodeState.INITIALIZING,
        )
        # The disk was replaced: the key in node.yaml is what counts.
        new = dataclasses.replace(mine, key_fingerprint=K2.request.fingerprint)
        await world.cluster.nodes.configure(Discovery.LISTED, [new])
        await join(world, key=K2)
        assert held(world) == [K2.request.fingerprint]


@virtual_time
async def test_a_token_in_node_yaml_is_the_only_one_for_that_name() -> None:
    async with master() as world:
        right, other = await token(world), await token(world)
        nodes = [ListedNode("n1", token_id=JoinToken.parse(right).id)]
        await world.cluster.nodes.configure(Discovery.ANY, nodes)
        with pytest.raises(PermissionDenied) as error:
            await join(world, other)
        assert refused_because(error, "node.yaml wants token")
        await join(world, right)
        assert used(world, other) == []


@virtual_time
async def test_a_name_with_credentials_cannot_be_borrowed() -> None:
    async with master() as world:
        right = await token(world)
        nodes = [
            ListedNode("by-token", token_id=JoinToken.parse(right).id),
            ListedNode("by-key", key_fingerprint=K2.request.fingerprint),
            ListedNode("plain"),
        ]
        await world.cluster.nodes.configure(Discovery.LISTED, nodes)
        await join(world, await token(world), name="stranger", node_id="id-n1")
        assert world.state_of()[0] is NodeState.PENDING
        for name in ("by-token", "by-key"):
            with pytest.raises(PermissionDenied, match="credentials of its own"):
                await come_back(world, name=name)
        assert world.state_of()[0] is NodeState.PENDING
        await come_back(world, name="plain")
        assert world.state_of()[0] is NodeState.INITIALIZING
        await join(world, right, K2, name="by-token", node_id="id-n2")
        await come_back(world, "id-n2", name="by-token")  # its own
        await come_back(world, "id-n2", name="by-key")  # and its key's


@virtual_time
async def test_who_waits_cannot_let_itself_in_by_another_type() -> None:
    async with master(discovery=Discovery.CLOUD) as world:
        shown = await token(world)
        reply = await join(world, shown, type=wire.NodeType.EMBEDDED)
        assert reply.status is wire.RegistrationStatus.AWAITING_APPROVAL
        assert "piccolo approve n1" in reply.message
        await come_back(world, type=wire.NodeType.CLOUD)
        await join(world, shown, type=wire.NodeType.CLOUD)
        found = node(world)
        assert found is not None
        assert (found.type, world.state_of()[0]) == (NodeType.EMBEDDED, NodeState.PENDING)
        await world.cluster.nodes.approve("n1")
        assert world.state_of()[0] is NodeState.INITIALIZING


# ---- new certificates ----

SHORT = SecuritySettings(certificate_lifetime=86400.0, expired_grace=86400.0)


async def renewed(
    world: World, key: Machine = K1, expired: str = "", who: Principal = ANONYMOUS
) -> wire.RenewCertificateResponse:
    with calling(who):
        request = wire.RenewCertificateRequest(csr_pem=key.csr, expired_pem=expired)
        return await renew(world.cluster, request)


async def joined(world: World) -> str:
    """The certificate of a node that has just joined."""
    reply = await join(world, await token(world))
    assert reply.certificate is not None
    return reply.certificate.certificate_pem


@virtual_time
async def test_a_session_renews_for_the_key_that_joined() -> None:
    async with master(security=SHORT) as world:
        await joined(world)
        who = Principal(Role.AGENT, "id-n1")
        await asyncio.sleep(3600)
        reply = await renewed(world, who=who)
        assert reply.certificate is not None
        assert reply.certificate.not_after == utc().replace(microsecond=0) + timedelta(days=1)
        assert len(held(world)) == 2
        with pytest.raises(PermissionDenied, match="not the one that this node joined with"):
            await renewed(world, K2, who=who)
        assert world.events("CertificateRenewedLate") == []


@virtual_time
async def test_an_expired_certificate_gets_another_within_the_grace() -> None:
    async with master(security=SHORT) as world:
        expired = await joined(world)
        await asyncio.sleep(86400 + 3600)
        reply = await renewed(world, expired=expired)
        assert reply.certificate is not None
        renewed_key = public_key_of(load_certificate(reply.certificate.certificate_pem))
        assert key_fingerprint(renewed_key) == K1.request.fingerprint
        [event] = world.events("CertificateRenewedLate")
        assert event.node_name == "n1"
        await asyncio.sleep(86400)
        with pytest.raises(PermissionDenied, match="join anew with a token"):
            await renewed(world, expired=expired)


@virtual_time
async def test_an_old_certificate_is_worth_nothing_without_its_key_or_its_node() -> None:
    async with master(security=SHORT) as world:
        c = world.cluster
        expired = await joined(world)
        with pytest.raises(PermissionDenied, match="not signed by the key"):
            await renewed(world, K2, expired)
        for nonsense in ("", "nonsense", "-----BEGIN CERTIFICATE-----\nAA==\n"):
            with pytest.raises(PermissionDenied, match="cannot be read"):
                await renewed(world, expired=nonsense)
        agent = Principal(Role.AGENT, "id-n1")
        foreign = signed(agent, K1, by=authority(), cluster_id=c.id)
        with pytest.raises(PermissionDenied, match="not of this cluster"):
            await renewed(world, expired=foreign.pem)
        admin, _ = c.certificates.sign(Principal(Role.ADMIN, "id-n1"), K1.request)
        with pytest.raises(PermissionDenied, match="not of the cluster"):
            await renewed(world, expired=admin.certificate_pem)
        elsewhere = signed(agent, K1, by=c.certificates.trust.current, cluster_id="another")
        with pytest.raises(PermissionDenied, match="nobody of this cluster"):
            await renewed(world, expired=elsewhere.pem)
        await c.remove("n1")
        with pytest.raises(PermissionDenied, match="revoked: the node was removed"):
            await renewed(world, expired=expired)
        with pytest.raises(PermissionDenied, match="not of the cluster"):
            await renewed(world, who=agent)
        assert held(world) == []
