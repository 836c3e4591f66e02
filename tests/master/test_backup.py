"""What is in a backup, what is left out, and what has to be changed before a master goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.core.model import Token
from piccolo.core.security.audit import GENESIS
from piccolo.master import keys
from piccolo.master.api_server.backup_calls import BackupCalls
from piccolo.master.backup import Backup, authority_of, is_kept
from piccolo.master.keys import MasterRecord, Restored
from piccolo.master.restoring import restoration
from piccolo.rpc import wire
from piccolo.security.authority import Authority
from piccolo.store.codec import decode, encode
from piccolo.store.mirror import EPOCH_KEY
from tests.master import backups
from tests.master.backups import EPOCH, MADE_AT, MIRROR_EPOCH, file_of, read_again
from tests.master.world import master

MADE = backups.backup()
WIFI = MADE.value(keys.secret("wifi"))
LATER = MADE_AT + timedelta(hours=1)


def test_what_is_written_is_read() -> None:
    found = read_again(file_of(MADE))
    assert found == MADE
    assert authority_of(found).pem == MADE.pki["ca.crt"]


def test_no_secret_can_be_read_in_the_file() -> None:
    file = file_of(MADE)
    assert b"Z2VoZWlt" not in file
    assert b"PRIVATE KEY" not in file


def test_what_lives_in_memory_only_is_left_out() -> None:
    rows = [line.split() for line in (keys.__doc__ or "").splitlines() if line.endswith("memory")]
    assert len(rows) >= 3
    for row in rows:
        assert keys.type_of(row[0]) is not None
        assert not is_kept(row[0])


def with_values(values: Mapping[str, bytes]) -> Backup:
    return replace(MADE, values={**MADE.values, **values})


STRANGER = Authority.create("PICCOLO other", MADE_AT)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (with_values({"strange/key": b"1"}), 'a "strange/key", which this PICCOLO does not know'),
        (with_values({"node/n2": b"{}"}), 'under "node/n2" is no Node'),
        (with_values({keys.unplaced("w"): b"1"}), "does not know"),
        (replace(MADE, values={}), "no record of one"),
        (
            with_values({keys.MASTER: encode(MasterRecord(99, "id-of-lab", 1))}),
            r"newer PICCOLO's store \(format 99",
        ),
        (with_values({keys.MASTER: encode(MasterRecord(1, "another", 1))}), "no PICCOLO writes"),
        (replace(MADE, pki={**MADE.pki, "../x": ""}), "no PICCOLO writes"),
        (replace(MADE, pki={}), "no certificates in PEM form"),
        (replace(MADE, pki={**MADE.pki, "ca.key": STRANGER.key_pem}), "do not belong together"),
    ],
)
def test_what_no_master_could_start_with_is_refused(wrong: Backup, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        read_again(file_of(wrong))


def test_a_restored_master_gives_out_what_nobody_has_seen() -> None:
    done = restoration(MADE, LATER)
    record = decode(MasterRecord, done.values[keys.MASTER], keys.MASTER)
    assert record.epoch > EPOCH + 3600 - 1
    assert record.restored == Restored(MADE_AT, LATER)
    assert int(done.values[EPOCH_KEY]) > MIRROR_EPOCH + 3600 // 8


def test_two_restores_of_the_same_backup_do_not_collide() -> None:
    def epoch(after: timedelta) -> int:
        values = restoration(MADE, MADE_AT + after).values
        record: MasterRecord = decode(MasterRecord, values[keys.MASTER], keys.MASTER)
        return record.epoch

    assert epoch(timedelta(seconds=20)) > epoch(timedelta(seconds=10)) + 9  # starts in between


def test_tokens_that_may_have_been_used_since_are_revoked() -> None:
    done = restoration(MADE, LATER)
    open_, over = (decode(Token, done.values[keys.token(id)], id) for id in ("open", "over"))
    assert open_.revoked_at == LATER
    assert over.revoked_at is None
    assert done.revoked == 1


def test_all_else_stays_as_it_is() -> None:
    changed = {keys.MASTER, keys.token("open"), EPOCH_KEY}
    done = restoration(MADE, LATER).values
    assert {k: v for k, v in done.items() if k not in changed} == {
        k: v for k, v in MADE.values.items() if k not in changed
    }


def test_a_clock_that_was_never_set_is_noticed() -> None:
    a_little_behind = restoration(MADE, MADE_AT - timedelta(minutes=1)).values
    assert decode(MasterRecord, a_little_behind[keys.MASTER], "").epoch == EPOCH + 1
    with pytest.raises(InvalidSpec, match="set the clock, then restore it"):
        restoration(MADE, MADE_AT - timedelta(days=100))


def test_numbers_that_would_not_fit_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="used up"):
        restoration(MADE, MADE_AT + timedelta(days=365 * 5))


class _Calls(BackupCalls):
    def __init__(self, cluster: object) -> None:
        self._c = cluster  # type: ignore[assignment]


async def test_a_master_puts_in_what_lasts() -> None:
    async with master() as world:
        state = world.cluster.state
        session = await world.joined("n1")
        world.beat(session)
        state.observe(keys.unplaced("w"), keys.Unplaced("no room", 1, 0), durable=False)
        state.observe(keys.AUDIT_HEAD, GENESIS)
        assert keys.live("id-n1") in {e.key for e in (await state.store.list("")).entries}
        found = await _Calls(world.cluster)._collect()
        assert keys.node("id-n1") in found.values
        assert not any(
            key.startswith((keys.LIVE, keys.USAGE, keys.UNPLACED, keys.AUDIT_HEAD))
            for key in found.values
        )
        assert read_again(file_of(found)) == found


async def test_a_large_commit_is_in_it_wholly_or_not_at_all() -> None:
    many = {keys.secret(f"s{n}"): WIFI for n in range(300)}
    async with master() as world:
        await world.cluster.state.commit(many)
        found = await _Calls(world.cluster)._collect()
        stored = {e.key for e in (await world.store.list("")).entries}
        assert found.count(keys.SECRET) == 300
        assert stored >= {keys.CHANGESET}  # it is under way, or was
        assert not any(key.startswith(keys.CHANGESET) for key in found.values)


async def test_what_is_not_stored_yet_is_in_it_and_it_says_so() -> None:
    async with master() as world:
        world.store.away = "the disk is full"
        with pytest.raises(Unavailable):
            await world.cluster.state.commit({keys.secret("lost"): WIFI})
        world.cluster.state.observe(keys.agent_events("id-n1"), keys.AgentStream("run-1", 5))
        calls = _Calls(world.cluster)
        found = await calls._collect()
        assert keys.secret("lost") not in found.values  # nobody was told that it is kept
        assert keys.agent_events("id-n1") in found.values
        assert calls._info(found).degraded == "the disk is full"


async def test_a_short_passphrase_is_refused_before_anything_is_done() -> None:
    async with master() as world:
        calls = _Calls(world.cluster).backup(wire.BackupRequest(passphrase="short"))
        with pytest.raises(InvalidSpec, match="a passphrase has") as refused:
            await anext(calls)
        assert "short" not in str(refused.value)
