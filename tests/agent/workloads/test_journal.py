"""What happened: in order, each once, within bounds, with masters that come and go."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from piccolo.agent.workloads import journal as module
from piccolo.agent.workloads.journal import BATCH_BYTES, MOST, MOST_BYTES, Journal
from piccolo.core.model import Severity
from tests.master.virtual_time import utc, virtual_time

INFO = Severity.INFO


def note(journal: Journal, *messages: object) -> None:
    for message in messages:
        journal.note(INFO, "web.0", "Started", str(message))


def texts(journal: Journal) -> list[str]:
    batch = journal.next_batch()
    return [h.message for h in batch.happenings] if batch is not None else []


class Master:
    """Takes in what is new, as the master does."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lost = 0
        self._stream, self._seq = "", 0

    def hear(self, journal: Journal, *, ack: bool = True) -> None:
        batch = journal.next_batch()
        assert batch is not None
        done = self._seq if self._stream == batch.stream else 0
        news = [h for h in batch.happenings if h.seq > done]
        self.told += [h.message for h in news]
        if news and news[0] is batch.happenings[0]:
            self.lost += batch.lost
        self._stream, self._seq = batch.stream, max(done, batch.happenings[-1].seq)
        if ack:
            journal.acknowledged(self._stream, self._seq)

    def hear_all(self, journal: Journal) -> None:
        while journal.next_batch() is not None:
            self.hear(journal)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def size(path: Path) -> int | None:
    """None: there is no file."""
    return path.stat().st_size if path.exists() else None


def is_private(path: Path) -> bool:
    return path.stat().st_mode & 0o777 == 0o600


def cut_off(path: Path, count: int, instead: bytes) -> None:
    path.write_bytes(path.read_bytes()[:-count] + instead)


def damage(path: Path, what: bytes, instead: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(what, instead))


def killed(journal: Journal, path: Path) -> Journal:
    """The next run of the agent."""
    found = Journal(path, utc)
    found.load()
    return found


@virtual_time
async def test_a_batch_stays_the_same_until_it_is_acknowledged(path: Path) -> None:
    journal = Journal(path, utc)
    journal.connected()
    assert journal.next_batch() is None
    note(journal, "a", "b")
    first = journal.next_batch()
    assert first is not None
    note(journal, "b", "c")
    assert journal.next_batch() == first, "also when more happened"
    journal.acknowledged("another", 99)
    assert journal.next_batch() == first
    journal.acknowledged(first.stream, 1)
    assert texts(journal) == ["b", "b", "c"]
    journal.acknowledged(first.stream, 1)  # it comes twice
    assert texts(journal) == ["b", "b", "c"]
    journal.acknowledged(first.stream, 4)
    assert (texts(journal), journal.under_way) == ([], False)


@virtual_time
async def test_the_same_in_a_row_is_gathered(path: Path) -> None:
    journal = Journal(path, utc)
    note(journal, "crash", "crash")
    await asyncio.sleep(5)
    note(journal, "crash")
    note(journal, "other", "crash")
    batch = journal.next_batch()
    assert batch is not None
    assert [(h.seq, h.message, h.count) for h in batch.happenings] == [
        (1, "crash", 3),
        (2, "other", 1),
        (3, "crash", 1),
    ]
    assert batch.happenings[0].time == utc(), "when it was last"


@virtual_time
async def test_it_is_bounded_and_the_oldest_go_first(path: Path) -> None:
    journal, master = Journal(path, utc), Master()
    note(journal, *range(MOST + 30))
    master.hear_all(journal)
    assert master.told == [str(i) for i in range(30, MOST + 30)]
    assert master.lost == 30
    note(journal, *(f"{i}{'x' * 3000}" for i in range(200)))
    size, batches = 0, 0
    while (batch := journal.next_batch()) is not None:
        batches += 1
        one = sum(len(h.message) for h in batch.happenings)
        assert one <= BATCH_BYTES
        size += one
        master.hear(journal)
    assert MOST_BYTES * 0.9 < size <= MOST_BYTES
    assert batches > 3
    assert master.lost + len(master.told) == MOST + 230


@virtual_time
async def test_what_is_on_its_way_is_not_dropped(path: Path) -> None:
    journal, master = Journal(path, utc), Master()
    journal.connected()
    note(journal, "first")
    assert texts(journal) == ["first"]
    note(journal, *range(MOST + 1))
    assert texts(journal) == ["first"]
    master.hear_all(journal)
    assert master.told == ["first", *(str(i) for i in range(2, MOST + 1))]
    assert master.lost == 2


@virtual_time
async def test_with_a_master_that_keeps_up_nothing_is_written(path: Path) -> None:
    journal, master = Journal(path, utc), Master()
    running = asyncio.create_task(journal.run())
    journal.connected()
    for i in range(20):
        note(journal, i)
        await asyncio.sleep(1)
        master.hear(journal)
        assert size(path) is None
    journal.disconnected()
    await asyncio.sleep(1)
    assert size(path) is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@virtual_time
async def test_without_a_master_it_is_on_the_disk_and_goes_when_the_master_has_it(
    path: Path,
) -> None:
    journal, master = Journal(path, utc), Master()
    running = asyncio.create_task(journal.run())
    journal.connected()
    note(journal, "a")
    journal.disconnected()  # before it was acknowledged
    note(journal, "b", "b")
    await asyncio.sleep(1)
    note(journal, "b", "c")
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert is_private(path)

    again = killed(journal, path)
    running = asyncio.create_task(again.run())
    again.connected()
    batch = again.next_batch()
    assert batch is not None
    assert [(h.message, h.count) for h in batch.happenings] == [("a", 1), ("b", 3), ("c", 1)]
    assert batch.stream == journal.stream, "the master may have had them before"
    note(again, "c")
    master.hear(again)
    await asyncio.sleep(0.01)
    assert size(path) is None, "though one is left that never was there"
    master.hear(again)
    assert master.told == ["a", "b", "c", "c"]
    assert again.next_batch() is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("seed", range(20))
@virtual_time
async def test_each_once_and_in_order_whatever_breaks(seed: int, path: Path) -> None:
    """Sessions break before and after the master heard; the agent is killed while it is alone."""
    chance, master = random.Random(seed), Master()
    journal, number = Journal(path, utc), 0
    running = asyncio.create_task(journal.run())
    for _ in range(60):
        if chance.random() < 0.5:
            for _ in range(chance.randrange(40)):
                number += 1
                note(journal, number)
            await asyncio.sleep(0.5)
        if chance.random() < 0.5:
            journal.connected()
            for _ in range(chance.randrange(4)):
                if journal.next_batch() is not None:
                    master.hear(journal, ack=chance.random() < 0.7)
            journal.disconnected()
            await asyncio.sleep(0.5)
        if chance.random() < 0.2:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            journal = killed(journal, path)
            running = asyncio.create_task(journal.run())
    journal.connected()
    master.hear_all(journal)
    told = [int(text) for text in master.told]
    assert told == sorted(set(told))
    assert len(told) + master.lost >= number
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@virtual_time
async def test_the_file_is_bounded_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    journal = Journal(path, utc)
    running = asyncio.create_task(journal.run())
    for i in range(1000):
        note(journal, f"{i} {'x' * 100}")
        if i % 10 == 0:
            await asyncio.sleep(1)
            assert (size(path) or 0) < 30_000
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    left = texts(killed(journal, path))
    assert left == texts(journal)
    assert left[-1].startswith("999 ")


@virtual_time
async def test_what_the_master_may_have_is_not_changed_any_more(path: Path) -> None:
    journal, master = Journal(path, utc), Master()
    note(journal, "a")
    master.hear(journal, ack=False)
    journal.close()
    again = killed(journal, path)
    note(again, "a")
    master.hear(again)
    assert master.told == ["a", "a"]


@virtual_time
async def test_numbers_that_were_used_and_not_written_are_not_used_again(path: Path) -> None:
    journal, master = Journal(path, utc), Master()
    note(journal, "a")
    journal.close()
    journal.connected()
    note(journal, "b")
    master.hear(journal, ack=False)  # and killed at once
    again = killed(journal, path)
    note(again, "c")
    master.hear(again)
    assert master.told == ["a", "b", "c"]


@virtual_time
async def test_what_nobody_has_when_a_session_ends_is_written(path: Path) -> None:
    journal = Journal(path, utc)
    running = asyncio.create_task(journal.run())
    journal.connected()
    note(journal, "a")
    await asyncio.sleep(1)
    assert size(path) is None
    journal.disconnected()
    await asyncio.sleep(1)
    assert texts(killed(journal, path)) == ["a"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@virtual_time
async def test_an_end_in_good_order_keeps_what_nobody_has_yet(path: Path) -> None:
    journal = Journal(path, utc)
    journal.connected()
    note(journal, "a")
    journal.close()
    assert texts(killed(journal, path)) == ["a"]


@virtual_time
async def test_a_line_cut_off_by_a_power_cut_is_none(path: Path) -> None:
    journal = Journal(path, utc)
    note(journal, "a", "b")
    journal.close()
    cut_off(path, 5, b'\n[1]\n{}\n["s", {"seq": "x"}]\n\xff\n')
    assert texts(killed(journal, path)) == ["a"]


@virtual_time
async def test_numbers_that_go_down_in_a_damaged_file_hold_nothing_up(path: Path) -> None:
    journal = Journal(path, utc)
    note(journal, "a", "b", "c")
    journal.close()
    damage(path, rb"\"seq\":1,", rb"\"seq\":5000000,")
    again = killed(journal, path)
    note(again, "d")
    again.connected()
    batch = again.next_batch()
    assert batch is not None
    assert [h.message for h in batch.happenings] == ["b", "c", "a", "d"]
    assert batch.happenings[-1].seq == max(h.seq for h in batch.happenings)
    again.acknowledged(batch.stream, batch.happenings[-1].seq)
    assert again.next_batch() is None


@virtual_time
async def test_a_disk_that_takes_nothing_does_no_harm(path: Path) -> None:
    os.mkdir(path)
    journal, master = Journal(path, utc), Master()
    journal.load()
    running = asyncio.create_task(journal.run())
    note(journal, "a")
    await asyncio.sleep(1)
    os.rmdir(path)
    note(journal, "b")
    await asyncio.sleep(1)
    assert texts(killed(journal, path)) == ["a", "b"], "and it is made up for"
    master.hear_all(journal)
    assert master.told == ["a", "b"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
