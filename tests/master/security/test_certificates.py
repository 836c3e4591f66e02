"""What the master remembers of certificates, and how the authority is replaced under way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from piccolo.config.settings import SecuritySettings
from piccolo.core.errors import Conflict, NotFound, Unavailable
from piccolo.core.model import Authorities, Certificate
from piccolo.core.security.access import Principal, Role
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.security.certificates import Certificates
from piccolo.security import authority as ca
from piccolo.security.files import write_private
from tests.master.insiders import machine
from tests.master.memory_store import Disk
from tests.master.virtual_time import utc, virtual_time
from tests.master.world import World, master

DAY = timedelta(days=1)
NODE, EVA = Principal(Role.AGENT, "id-n1"), Principal(Role.ADMIN, "eva")
SHORT = SecuritySettings(certificate_lifetime=86400.0, expired_grace=86400.0, overlap=7 * 86400.0)


async def issue(world: World, who: Principal = NODE, key: str = "one") -> str:
    """The serial number of a new one."""
    request = machine(f"certificates-{key}").request
    signed = await world.cluster.certificates.issue(who, request)
    return ca.serial_of(ca.load_certificate(signed.certificate_pem))


def later(world: World, time: timedelta) -> None:
    """So much has passed."""
    clock = world.cluster.clock
    world.cluster.certificates._clock = Clock(clock.monotonic, lambda: utc() + time)


def serials(certificates: list[Certificate]) -> set[str]:
    return {c.serial for c in certificates}


def fingerprint(world: World) -> str:
    return world.cluster.certificates.trust.current.fingerprint


# ---- revoking ----


@virtual_time
async def test_a_revoked_certificate_stays_known_and_its_holder_is_cut_off() -> None:
    disk = Disk()
    async with master(disk) as world:
        c = world.cluster.certificates
        old, new = await issue(world), await issue(world)
        other = await issue(world, Principal(Role.AGENT, "id-n2"))
        told: list[set[str]] = []
        c.on_revoked = told.append
        gone = await c.revoke(c.of(NODE), "stolen")
        assert told == [serials(gone)] == [{old, new}]
        assert (c.of(NODE), serials(c.newest())) == ([], {other})
        assert c.revoked(NODE, old) == c.revoked(NODE, new) == "stolen"
        await c.revoke(c.of(Principal(Role.AGENT, "id-n2")), "removed", cut=False)
        assert len(told) == 1
    async with master(disk) as world:
        assert world.cluster.certificates.revoked(NODE, old) == "stolen"


@virtual_time
async def test_a_certificate_of_which_a_backup_knows_nothing_ends_with_those_it_knows() -> None:
    async with master() as world:
        c = world.cluster.certificates
        assert c.revoked(NODE, "UNKNOWN") == "", "nothing is known of this node"
        await issue(world)
        assert c.revoked(NODE, "UNKNOWN") == "", "it may have been issued after the backup"
        await c.revoke(c.of(NODE), "the node was removed")
        assert c.revoked(NODE, "UNKNOWN") == "the node was removed"
        back = await issue(world)
        assert c.revoked(NODE, back) == ""


@virtual_time
async def test_nobody_is_cut_off_for_what_the_store_does_not_take() -> None:
    async with master() as world:
        c = world.cluster.certificates
        serial = await issue(world)
        told: list[set[str]] = []
        c.on_revoked = told.append
        world.store.away = "no route"
        with pytest.raises(Unavailable):
            await c.revoke(c.of(NODE), "stolen")
        assert (told, c.revoked(NODE, serial)) == ([], "")


@virtual_time
async def test_certificates_are_found_as_people_write_them() -> None:
    async with master() as world:
        c = world.cluster.certificates
        node, first, second = await issue(world), await issue(world, EVA), await issue(world, EVA)
        colons = ":".join(first[i : i + 2] for i in range(0, len(first), 2))
        for text in (first, first.lower(), colons):
            assert serials(c.find(text)) == {first}
        assert serials(c.find("eva")) == {first, second}
        assert serials(c.find(node)) == {node}
        await c.revoke(c.find(first), "lost")
        assert serials(c.find("eva")) == {second}
        for nothing in (first, "id-n1", "n1", "", "EVA"):  # a node is removed, not revoked
            with pytest.raises(NotFound, match="piccolo remove node"):
                c.find(nothing)


@virtual_time
async def test_many_are_revoked_in_transactions_of_a_size() -> None:
    async with master() as world:
        c = world.cluster.certificates
        for _ in range(101):
            await issue(world, EVA)
        before = len(world.store.commits)
        assert len(await c.revoke(c.find("eva"), "lost")) == 101
        assert [len(ops) for ops in world.store.commits[before:]] == [100, 1]
        assert c.of(EVA) == []


# ---- forgetting ----


@virtual_time
async def test_old_records_go_but_the_last_of_a_node_says_which_key_is_its_own() -> None:
    async with master(security=SHORT) as world:
        c = world.cluster.certificates
        await world.register("n1")
        first, last = await issue(world), await issue(world)
        client = await issue(world, EVA)
        gone_node = await issue(world, Principal(Role.AGENT, "id-gone"))
        revoked = await issue(world, Principal(Role.VIEWER, "bob"))
        await c.revoke(c.find("bob"), "lost")
        assert len({first, last, client, gone_node, revoked}) == 5
        newest = c.of(NODE)[0].serial
        later(world, timedelta(days=2, hours=23))  # the grace, and a day for wrong clocks
        await c.forget_old()
        assert len(c.all()) == 5
        later(world, timedelta(days=3, hours=1))
        await c.forget_old()
        assert serials(c.all()) == {newest, revoked}
        assert c.revoked(Principal(Role.VIEWER, "bob"), revoked) == "lost"


# ---- the authority ----


@virtual_time
async def test_a_new_authority_takes_over_while_the_old_one_is_trusted() -> None:
    disk = Disk()
    async with master(disk, security=SHORT) as world:
        c, old = world.cluster.certificates, fingerprint(world)
        serial = await issue(world)
        told: list[str] = []
        c.on_trust = lambda: told.append(c.trust.bundle)
        assert not c.is_outdated(NODE, serial)
        assert c.is_outdated(NODE, "00"), "to have it on record"
        await c.rotate("piccolo")
        new = fingerprint(world)
        assert new != old
        assert told == [c.trust.bundle]
        assert [ca.fingerprint_of(a) for a in c.trust.trusted] == [new, old]
        assert (c.retires_at(old), c.retires_at(new)) == (utc() + 7 * DAY, None)
        assert c.is_outdated(NODE, serial), "its holder is to get another"
        [event] = world.events("AuthorityRotated")
        assert new in event.message
        assert serials(c.holders(old)) == {serial}
    async with master(disk, security=SHORT) as world:
        c = world.cluster.certificates
        assert (fingerprint(world), c.retires_at(old) is not None) == (new, True)


@virtual_time
async def test_an_authority_is_not_retired_under_who_needs_it() -> None:
    async with master(security=SHORT) as world:
        c, old = world.cluster.certificates, fingerprint(world)
        await world.register("n1")
        await issue(world)
        await issue(world, EVA)
        assert await c.retire() == ([], []), "there is none"
        await c.rotate("piccolo")
        with pytest.raises(Conflict, match=r"shut out: .*agent n1"):
            await c.retire()
        assert len(c.trust.trusted) == 2
        await asyncio.sleep(1)
        await issue(world)
        with pytest.raises(Conflict, match=r"shut out: admin eva;"):
            await c.retire()
        gone, shut_out = await c.retire(force=True)
        assert (gone, [who.name for who in shut_out]) == ([old], ["eva"])
        assert [ca.fingerprint_of(a) for a in c.trust.trusted] == [fingerprint(world)]
        assert (c.retires_at(old), c.holders(fingerprint(world))[0].name) == (None, "id-n1")
        [event] = world.events("AuthorityRetired")
        assert "shut out: admin eva" in event.message


@virtual_time
async def test_what_has_expired_or_was_revoked_holds_nothing_up() -> None:
    async with master(security=SHORT) as world:
        c, old = world.cluster.certificates, fingerprint(world)
        await issue(world)
        await issue(world, EVA)
        await c.rotate("piccolo")
        await c.revoke(c.find("eva"), "lost")
        later(world, DAY + timedelta(seconds=1))
        assert await c.retire() == ([old], [])


@virtual_time
async def test_each_authority_retires_in_its_own_time() -> None:
    async with master(security=SHORT) as world:
        c, first = world.cluster.certificates, fingerprint(world)
        await c.rotate("piccolo", overlap=3 * DAY)
        second = fingerprint(world)
        await c.rotate("piccolo", overlap=DAY)
        third = fingerprint(world)

        def trusted() -> list[str]:
            return [ca.fingerprint_of(a) for a in c.trust.trusted]

        assert trusted() == [third, second, first]
        await c.retire_due()
        assert trusted() == [third, second, first]
        later(world, DAY)
        await c.retire_due()
        assert trusted() == [third, first]
        later(world, 4 * DAY)
        await c.retire_due()
        assert trusted() == [third]
        later(world, 4000 * DAY)
        await c.retire_due()
        assert trusted() == [third]


@pytest.mark.parametrize("days", [-20_000, 4000])  # 1972, and behind the authority's ten years
@virtual_time
async def test_a_clock_that_is_wrong_signs_nothing_and_makes_no_authority(days: int) -> None:
    disk = Disk()
    async with master(disk) as world:
        c, old = world.cluster.certificates, fingerprint(world)
        later(world, days * DAY)
        with pytest.raises(Unavailable, match="set the clock"):
            await issue(world)
        assert c.of(NODE) == []
        if days < 0:
            with pytest.raises(Unavailable, match="set the clock"):
                await c.rotate("piccolo")
            assert fingerprint(world) == old
        else:  # it may be right: that is the way out
            await c.rotate("piccolo")
            assert await issue(world)


@pytest.mark.parametrize("written", range(6))
@virtual_time
async def test_a_rotation_that_is_cut_off_is_all_or_nothing_at_the_next_start(
    written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes so many more of its files; then the power fails."""
    disk = Disk()
    left = written

    def failing(path: Path, text: str) -> None:
        nonlocal left
        if left == 0:
            raise Unavailable("the disk is full")
        left -= 1
        write_private(path, text)

    async with master(disk, security=SHORT) as world:
        old = fingerprint(world)
        monkeypatch.setattr("piccolo.master.security.trust.write_private", failing)
        with pytest.raises(Unavailable):
            await world.cluster.certificates.rotate("piccolo")
        monkeypatch.undo()
        crashed = disk.copy()
    async with master(crashed, security=SHORT) as world:
        c: Certificates = world.cluster.certificates
        note = world.cluster.state.get(keys.AUTHORITIES, Authorities)
        assert note is not None
        assert note.current == fingerprint(world)
        if written < 3:  # ca.crt decides
            assert (note.current, dict(note.retiring)) == (old, {})
        else:
            assert note.current != old
            assert set(note.retiring) == {old}
        later(world, 8 * DAY)
        await c.retire_due()
        assert fingerprint(world) == note.current, "what is current never retires"
        serial = await issue(world)
        assert not c.is_outdated(NODE, serial)
