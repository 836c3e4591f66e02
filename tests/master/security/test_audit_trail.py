"""The audit trail: written at once and to the end, through crashes, full disks and tampering."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from piccolo.config.settings import AuditSettings
from piccolo.core.errors import InvalidSpec, NotFound
from piccolo.core.security.audit import (
    FILE_BEGUN,
    GENESIS,
    Entry,
    Head,
    beginning,
    chain,
    file_number,
    oldest_kept,
    parse,
)
from piccolo.master import keys
from piccolo.master.security import audit_files, audit_trail
from piccolo.master.security.audit_reading import lines, verify
from tests.master.memory_store import Disk
from tests.master.security.audit_world import SMALL, auditing, files, records
from tests.master.virtual_time import utc, virtual_time


def utc_() -> datetime:
    """Of tests outside of virtual time."""
    return datetime(2026, 11, 21, tzinfo=UTC)


@virtual_time
async def test_what_was_done_is_in_the_file_at_once(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit", killed=True) as world:
        world.do("node n1")
        world.do("node n2\nforged", allowed=False, reason="not you\r\n")
        await asyncio.sleep(0.001)
        [began, first, second] = [r.entry for r in world.records()]
        assert began.action == "AuditFileBegun"
        assert (first.actor, first.source, first.action) == ("admin:admin", "10.0.0.2:4000", "Do")
        assert (first.object, first.allowed, first.time) == (
            "node n1",
            True,
            utc().replace(microsecond=0),
        )
        assert (second.object, second.reason) == ("node n2\nforged", "not you\r\n")
        assert not second.allowed


@virtual_time
async def test_nobody_else_can_look_into_it(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit"):
        assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
        assert files(tmp_path / "audit")[0].stat().st_mode & 0o777 == 0o600
    (tmp_path / "audit").chmod(0o755)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with auditing(tmp_path / "audit"):
            pass
    assert caught.group_contains(InvalidSpec, match="chmod")


@virtual_time
async def test_it_is_on_disk_within_a_second_and_then_noted_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    really = os.fsync

    def fsync(fd: int) -> None:
        synced.append(fd)
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    async with auditing(tmp_path / "audit", settings=AuditSettings()) as world:
        synced.clear()
        for number in range(30):
            world.do(f"node n{number}")
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.7)
        assert 1 <= len(synced) <= 2  # gathered
        assert world.state.get(keys.AUDIT_HEAD, Head) == world.records()[-1].head
        await asyncio.sleep(1)
        assert keys.AUDIT_HEAD in world.disk.entries


def written(directory: Path) -> list[tuple[int, int, int]]:
    """What a write would change; reading changes the access time."""
    found = [file.stat() for file in files(directory)]
    return [(s.st_ino, s.st_size, s.st_mtime_ns) for s in found]


@virtual_time
async def test_an_idle_cluster_writes_nothing(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit") as world:
        world.do("x", allowed=False)  # its window is over after 10 s, and there is nothing to say
        await asyncio.sleep(60)
        before = world.disk.revision, written(world.directory)
        await asyncio.sleep(24 * 3600)
        await world.trail.verify()
        await asyncio.sleep(60)
        assert (world.disk.revision, written(world.directory)) == before


@virtual_time
async def test_the_end_of_the_master_loses_nothing(tmp_path: Path) -> None:
    disk = Disk()
    async with auditing(tmp_path / "audit", disk) as world:
        for _ in range(5):
            world.do("node n1", allowed=False, reason="no")
        world.do("last")
    assert [(r.entry.object, r.entry.count) for r in records(tmp_path / "audit")][1:] == [
        ("node n1", 1),
        ("last", 1),
        ("node n1", 4),
    ]
    async with auditing(tmp_path / "audit", disk) as world:
        world.do("of the next life")
        report = await world.trail.verify()
        assert (report.findings, report.records, report.first) == ((), 5, 1)


@virtual_time
async def test_a_flood_of_denials_becomes_a_few_records(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit", settings=AuditSettings()) as world:
        for tick in range(2500):  # 25 s
            world.trail.record(
                "anonymous", f"10.6.6.6:{tick}", "GetNodes", allowed=False, reason="who are you"
            )
            await asyncio.sleep(0.01)
        await asyncio.sleep(20)
        denied = [r.entry for r in world.records() if not r.entry.allowed]
        assert sum(e.count for e in denied) == 2500
        assert len(denied) == 6
        seconds = [(e.time - denied[0].time).total_seconds() for e in denied]
        assert seconds[1] == pytest.approx(10, abs=0.1)  # not before the next flood


# ---- rotation ----


@virtual_time
async def test_rotation_keeps_the_chain_and_what_is_left_is_verifiable(tmp_path: Path) -> None:
    disk = Disk()
    async with auditing(tmp_path / "audit", disk) as world:
        for number in range(100):
            world.do(f"node n{number}")
        await asyncio.sleep(1)
        assert len(files(world.directory)) == SMALL.files
        assert all(path.stat().st_size <= SMALL.max_file_size for path in files(world.directory))
        report = await world.trail.verify()
        assert not report.findings
        assert report.first == world.records()[0].number > 1
        assert report.last.number - report.first + 1 == report.records
    assert verify(tmp_path / "audit").first == report.first  # offline as well

    async with auditing(tmp_path / "audit", disk, AuditSettings(4096, files=10)) as world:
        for number in range(100):
            world.do(f"node n{number}")
            if number == 20:  # there is room for all of them again, but what is gone is gone
                await asyncio.sleep(1)
                *_, newest = (e for r in world.records() if (e := r.entry).action == FILE_BEGUN)
                assert oldest_kept(newest) == file_number(files(world.directory)[0].name)
        await asyncio.sleep(1)
        assert len(files(world.directory)) > SMALL.files
        assert not (await world.trail.verify()).findings
        files(world.directory)[0].unlink()
        assert "missing" in (await world.trail.verify()).findings[0]

    async with auditing(tmp_path / "audit", disk, AuditSettings(4096, files=2)) as world:
        for number in range(100):
            world.do(f"node n{number}")
        await asyncio.sleep(1)
        assert len(files(world.directory)) == 2
        assert not (await world.trail.verify()).findings  # what was touched is no longer there


@virtual_time
async def test_the_limits_can_be_changed_while_it_runs(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit") as world:
        before = world.trail.reads
        world.trail.configure(AuditSettings(max_file_size=1 << 20, files=2, reads=True))
        assert (before, world.trail.reads) == (False, True)
        for number in range(100):
            world.do(f"node n{number}")
        await asyncio.sleep(1)
        assert len(files(world.directory)) == 1


# ---- crashes ----


@pytest.mark.parametrize("left", ["half", "zeros", "nothing but a brace"])
@virtual_time
async def test_a_torn_line_is_cut_off_kept_and_said(tmp_path: Path, left: str) -> None:
    disk = Disk()
    async with auditing(tmp_path / "audit", disk, killed=True) as world:
        world.do("node n1")
        await asyncio.sleep(1)
        torn, _ = chain(Entry(utc(), "a", "b", "Torn"), world.records()[-1].head)
    tail = {"half": torn[: len(torn) // 2], "zeros": bytes(5000)}.get(left, b"{")
    with files(tmp_path / "audit")[0].open("ab") as file:
        file.write(tail)
    async with auditing(tmp_path / "audit", disk) as world:
        repaired = world.records()[-1].entry
        assert repaired.action == "AuditRepaired"
        shown = {"half": '"Torn"', "zeros": r"\x00\x00"}.get(left, "{")
        assert shown in repaired.reason
        assert world.events() == ["AuditRepaired"]
        world.do("node n2")
        assert not (await world.trail.verify()).findings


@virtual_time
async def test_a_file_that_was_only_begun_is_gone_on_with(tmp_path: Path) -> None:
    """The crash came between making a new file and its first line."""
    disk = Disk()
    async with auditing(tmp_path / "audit", disk, killed=True) as world:
        world.do("node n1")
        await asyncio.sleep(1)
    (tmp_path / "audit" / "audit-000002.jsonl").touch(0o600)
    async with auditing(tmp_path / "audit", disk) as world:
        world.do("node n2")
        assert not (await world.trail.verify()).findings
        assert world.actions() == ["AuditFileBegun", "Do", "AuditFileBegun", "Do"]
        assert world.events() == []


@virtual_time
async def test_files_ahead_of_the_store_are_fine(tmp_path: Path) -> None:
    """The master was killed after it wrote a record and before the store knew."""
    disk = Disk()
    async with auditing(tmp_path / "audit", disk, killed=True) as world:
        for number in range(100):  # over several files
            world.do(f"node n{number}")
        await asyncio.sleep(0.01)
    async with auditing(tmp_path / "audit", disk) as world:
        assert world.events() == []
        assert not (await world.trail.verify()).findings
        assert world.records()[-1].entry.object == "node n99"


# ---- tampering while the master is away ----


def cut_tail(directory: Path) -> None:
    path = files(directory)[-1]
    path.write_bytes(b"".join(list(lines(path))[:-2]))


def forge_tail(directory: Path) -> None:
    """The last three records, written anew in the same length, and chained as they should be."""
    path = files(directory)[-1]
    there = list(lines(path))
    head = parse(there[-4])[0].head
    forged = []
    for old in there[-3:]:
        line, head = chain(replace(parse(old)[0].entry, source="10.0.0.3:4000"), head)
        assert len(line) == len(old)
        assert line != old
        forged.append(line)
    path.write_bytes(b"".join(there[:-3] + forged))


def forge_longer_tail(directory: Path) -> None:
    forge_tail(directory)
    path = files(directory)[-1]
    head = parse(list(lines(path))[-1])[0].head
    with path.open("ab") as file:
        file.write(chain(Entry(utc(), "admin:eve", "", "Do"), head)[0])


def remove_all(directory: Path) -> None:
    for path in files(directory):
        path.unlink()


def remove_last(directory: Path) -> None:
    files(directory)[-1].unlink()


def start_anew(directory: Path) -> None:
    remove_all(directory)
    head, data = GENESIS, b""
    for number in range(200):
        entry = Entry(utc(), "admin:eve", "", "Do", str(number))
        line, head = chain(entry if number else beginning(utc(), 1, 1), head)
        data += line
    (directory / "audit-000001.jsonl").write_bytes(data)


@pytest.mark.parametrize(
    "tamper", [cut_tail, forge_tail, forge_longer_tail, remove_all, remove_last, start_anew]
)
@virtual_time
async def test_tampering_with_the_end_is_noticed_at_the_start_and_never_covered_up(
    tmp_path: Path, tamper: Callable[[Path], None]
) -> None:
    disk = Disk()
    many = AuditSettings(max_file_size=4096, files=50)
    async with auditing(tmp_path / "audit", disk, many) as world:
        for number in range(30):
            world.do(f"node n{number}")
    tamper(tmp_path / "audit")
    for _ in range(2):  # the next start does not forget it
        async with auditing(tmp_path / "audit", disk, many) as world:
            assert "AuditTampered" in world.events()
            for number in range(30):
                world.do(f"node n{number}")
            report = await world.trail.verify()
            assert report.findings
            assert world.actions().count("AuditTampered") == 1
    assert verify(tmp_path / "audit").findings  # from now on even offline


def edit_in_the_middle(directory: Path) -> None:
    path = files(directory)[0]
    path.write_bytes(path.read_bytes().replace(b"node n3", b"node n4"))


def remove_the_middle(directory: Path) -> None:
    files(directory)[1].unlink()


@pytest.mark.parametrize("tamper", [edit_in_the_middle, remove_the_middle])
@pytest.mark.parametrize("away", [True, False])
@virtual_time
async def test_tampering_in_the_middle_is_found(
    tmp_path: Path, tamper: Callable[[Path], None], away: bool
) -> None:
    disk = Disk()
    many = AuditSettings(max_file_size=4096, files=50)
    async with auditing(tmp_path / "audit", disk, many) as world:
        for number in range(60):
            world.do(f"node n{number}")
        assert not (await world.trail.verify()).findings
        if not away:
            tamper(tmp_path / "audit")
            assert (await world.trail.verify()).findings
    if away:
        tamper(tmp_path / "audit")
        async with auditing(tmp_path / "audit", disk, many) as world:
            assert (await world.trail.verify()).findings


# ---- tampering while the master runs ----


def append_forged(directory: Path) -> None:
    path = files(directory)[-1]
    head = parse(list(lines(path))[-1])[0].head
    with path.open("ab") as file:
        file.write(chain(Entry(utc(), "admin:eve", "", "Do", "forged"), head)[0])


def exchange(directory: Path) -> None:
    path = files(directory)[-1]
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data.replace(b"node n3", b"node n4"))


def remove_directory(directory: Path) -> None:
    remove_all(directory)
    directory.rmdir()


@pytest.mark.parametrize(
    "tamper",
    [cut_tail, forge_tail, forge_longer_tail, remove_all, append_forged, exchange,
     remove_directory],
)  # fmt: skip
@virtual_time
async def test_tampering_under_a_running_master_is_noticed_and_nothing_more_is_lost(
    tmp_path: Path, tamper: Callable[[Path], None]
) -> None:
    async with auditing(tmp_path / "audit", settings=AuditSettings()) as world:
        for number in range(30):
            world.do(f"node n{number}")
        await asyncio.sleep(1)
        tamper(tmp_path / "audit")
        assert (await world.trail.verify()).findings
        world.do("after it")
        await asyncio.sleep(1)
        assert (await world.trail.verify()).findings
        assert world.records()[-1].entry.object == "after it"
        if tamper is not forge_tail:  # only verification finds that
            assert "AuditTampered" in world.events()
    assert verify(tmp_path / "audit").findings


# ---- a disk that refuses ----


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Empty it: the disk is full, after so many bytes of the next line."""
    room = [1 << 30]
    really = os.write

    def write(fd: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = really(fd, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)
    yield room
    monkeypatch.undo()


@pytest.mark.parametrize("part", [0, 1, 100])
@virtual_time
async def test_a_full_disk_delays_records_and_loses_none(
    tmp_path: Path, full: list[int], part: int
) -> None:
    async with auditing(tmp_path / "audit") as world:
        world.do("before")
        await asyncio.sleep(1)
        full[0] = part
        for number in range(20):
            world.do(f"node n{number}")
            await asyncio.sleep(1)
        assert world.events() == ["AuditUnavailable"]  # once
        assert "No space left" in world.log.newest()[0].message
        assert [r.entry.object for r in world.records()][1:] == ["before"]  # no half line stays
        full[0] = 1 << 30
        await asyncio.sleep(audit_trail.RETRY + 0.1)
        assert world.events() == ["AuditUnavailable", "AuditRecovered"]
        done = [r.entry.object for r in world.records() if r.entry.action == "Do"]
        assert done == ["before", *(f"node n{n}" for n in range(20))]
        assert not (await world.trail.verify()).findings


@virtual_time
async def test_what_waits_is_bounded_and_what_was_lost_is_itself_recorded(
    tmp_path: Path, full: list[int]
) -> None:
    async with auditing(tmp_path / "audit", settings=AuditSettings()) as world:
        await asyncio.sleep(1)
        full[0] = 0
        for number in range(audit_trail.MAX_WAITING + 234):
            world.do(f"node n{number}")
        assert len(world.trail._waiting) == audit_trail.MAX_WAITING
        await asyncio.sleep(1)
        full[0] = 1 << 30
        await asyncio.sleep(audit_trail.RETRY + 0.1)
        last = world.records()[-1].entry
        assert (last.action, last.count) == ("AuditLost", 234)
        assert world.records()[-2].entry.object == f"node n{audit_trail.MAX_WAITING - 1}"


@pytest.mark.parametrize("objects", [["node n1"], []])
@virtual_time
async def test_a_master_starts_with_a_full_disk_and_begins_the_trail_when_it_can(
    tmp_path: Path, full: list[int], objects: list[str]
) -> None:
    full[0] = 0
    async with auditing(tmp_path / "audit") as world:
        world.do(*objects)
        await asyncio.sleep(20)
        assert world.events() == ["AuditUnavailable"]
        full[0] = 1 << 30
        await asyncio.sleep(audit_trail.RETRY + 0.1)
        assert world.events() == ["AuditUnavailable", "AuditRecovered"]
        assert world.actions() == ["AuditFileBegun", *("Do" for _ in objects)]
        assert not (await world.trail.verify()).findings


@virtual_time
async def test_a_disk_that_stays_full_does_not_keep_the_master_from_ending(
    tmp_path: Path, full: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    async with auditing(tmp_path / "audit") as world:
        full[0] = 0
        world.do("node n1")
    assert "1 records of the audit trail could not be written" in caplog.text


@virtual_time
async def test_a_failing_fsync_is_tried_again_and_the_head_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True
    really = os.fsync

    def fsync(fd: int) -> None:
        if broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        really(fd)

    async with auditing(tmp_path / "audit") as world:
        monkeypatch.setattr(os, "fsync", fsync)
        before = world.state.get(keys.AUDIT_HEAD, Head)
        world.do("node n1")
        await asyncio.sleep(3)
        assert world.state.get(keys.AUDIT_HEAD, Head) == before
        assert world.events() == ["AuditUnavailable"]
        broken = False
        await asyncio.sleep(audit_trail.RETRY + 0.1)
        assert world.state.get(keys.AUDIT_HEAD, Head) == world.records()[-1].head


@pytest.mark.needs_root
def test_a_really_full_disk(tmp_path: Path) -> None:
    where = tmp_path / "small"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", where], check=True)
    try:
        settings = AuditSettings(max_file_size=1 << 20, files=2)
        files_ = audit_files.AuditFiles(where / "audit", settings, utc_, None)
        entry = Entry(utc_(), "a", "b", "Do", "x" * 300)

        def fill() -> None:
            for _ in range(1000):
                files_.append(entry)

        with pytest.raises(OSError, match="No space left"):
            fill()
        assert not verify(where / "audit", files_.head).findings
        subprocess.run(["mount", "-o", "remount,size=1m", where], check=True)
        files_.append(entry)
        assert files_.notes == []
        assert not verify(where / "audit", files_.head).findings
        files_.close()
    finally:
        subprocess.run(["umount", where], check=True)


# ---- reading ----


async def read(world: Any) -> list[str]:
    return [parse(line)[0].entry.object async for some in world.trail.lines() for line in some]


@virtual_time
async def test_all_is_read_some_at_a_time(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit", settings=AuditSettings(1 << 17, 8)) as world:
        for number in range(900):
            world.do(f"node n{number}")
        chunks = [len(some) async for some in world.trail.lines()]  # also what is not yet written
        assert sum(chunks) > 900
        assert max(chunks) <= 256
        objects = await read(world)
        assert [o for o in objects if o.startswith("node")] == [f"node n{n}" for n in range(900)]


@virtual_time
async def test_a_follower_sees_what_is_added_also_through_rotations(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit") as world:
        seen: list[str] = []

        async def follow() -> None:
            async for some in world.trail.lines(follow=True):
                seen.extend(parse(line)[0].entry.object for line in some)

        world.do("before")
        following = asyncio.create_task(follow())
        await asyncio.sleep(1)
        assert seen[1:] == ["before"]
        for number in range(100):
            world.do(f"node n{number}")
            await asyncio.sleep(0.2)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert [o for o in seen if o.startswith("node")] == [f"node n{n}" for n in range(100)]
        assert not world.trail._followers


@virtual_time
async def test_a_reader_whose_file_is_dropped_goes_on_with_the_oldest(tmp_path: Path) -> None:
    async with auditing(tmp_path / "audit") as world:
        world.do("first")
        reading = world.trail.lines()
        assert await anext(reading)
        for number in range(100):
            world.do(f"node n{number}")
        await asyncio.sleep(1)
        rest = [parse(line)[0] async for some in reading for line in some]
        assert rest[0] == world.records()[0]
        assert rest[-1] == world.records()[-1]


def test_a_directory_without_a_trail_is_told_apart_from_an_intact_one(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFound, match="no files of an audit trail"):
            verify(directory)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "audit-000001.jsonl"
    begun, head = chain(beginning(utc_(), 1, 1), GENESIS)
    path.write_bytes(begun + b"x" * 1_000_000 + b"\n" + chain(Entry(utc_(), "", "", ""), head)[0])
    assert max(map(len, lines(path))) < 40_000
    assert [f.partition(": ")[0] for f in verify(tmp_path).findings] == ["audit-000001.jsonl:2"]


async def test_in_real_time_with_real_threads(tmp_path: Path) -> None:
    disk = Disk()
    with patch("tests.master.security.audit_world.utc", utc_):
        async with auditing(tmp_path / "audit", disk, AuditSettings()) as world:
            for number in range(300):
                world.do(f"node n{number}")
                if number % 50 == 0:
                    await asyncio.sleep(0.01)
            assert not (await world.trail.verify()).findings
            world.do("the last")
    assert records(tmp_path / "audit")[-1].entry.object == "the last"
