"""A few of the kills of `./dev lab --full kills`; and that its checks find what is wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from itertools import islice
from pathlib import Path
from typing import cast

import pytest

from tests.e2e.asking import Stub
from tests.reliability.agent_disk import Disk, files_killed
from tests.reliability.agent_writer import states
from tests.reliability.findings import Findings
from tests.reliability.killing import Master
from tests.reliability.stream import FEW, killed_under_writes
from tests.reliability.writers import State, Write, Writer

SEED = random.randrange(1 << 31)


@pytest.mark.slow
def test_a_stream_of_writes_survives_kills_of_the_master() -> None:
    found = killed_under_writes(3, random.Random(SEED), "sqlite", herd=FEW)
    assert found.lost == [], f"seed {SEED}"
    assert found.counts["writes acknowledged"] > 10
    assert found.counts["times read"] > 10
    assert found.counts["times a watch was resumed"] > 3


@pytest.mark.slow
def test_the_files_of_an_agent_survive_kills() -> None:
    found = files_killed(4, random.Random(SEED))
    assert found.lost == [], f"seed {SEED}"
    assert found.counts["states acknowledged"] > 4


# ---- what is wrong is found ----


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """After five states."""
    disk = Disk(tmp_path)
    with closing(states(tmp_path, 1)) as done:
        disk.told = list(islice(done, 5))[-1]
    assert list(disk.wrong()) == []
    return disk


def cut_off(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file cut off": (lambda d: cut_off(d / "workloads/desired", 900), "is damaged"),
    "a file that is gone": (lambda d: (d / "workloads/desired").unlink(), "what is to run"),
    "another node": (lambda d: (d / "identity.json").unlink(), "has become"),
    "events that are gone": (lambda d: (d / "events.jsonl").unlink(), "no events are left"),
    "the last event cut off": (lambda d: cut_off(d / "events.jsonl", -9), "the events of"),
}


@pytest.mark.parametrize(("damage", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_damage_to_an_agents_files_is_found(
    damage: Callable[[Path], object], said: str, disk: Disk
) -> None:
    damage(disk.directory)
    assert any(said in wrong for wrong in disk.wrong())


def test_states_of_an_agent_that_were_acknowledged_and_are_not_there_are_found(disk: Disk) -> None:
    disk.told += 2
    assert len(list(disk.wrong())) == 3, "what is to run, the cluster, the events"


class Scripted(Writer):
    """Writes pairs; what it reads is given."""

    def __init__(self, found: Findings, *there: tuple[State, int]) -> None:
        super().__init__("scripted", cast(Master, self), found)
        self._there = list(there)

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[Stub]:
        """In the place of a master."""
        if not self._there:
            self.stop.set()  # it looks twice then
            self._there += [(self.promised, self._revision)] * 2
        yield cast(Stub, None)

    def next(self, number: int) -> Write:
        async def ask(stub: Stub) -> int:
            raise OSError("killed")

        return Write(ask, pair(number))

    async def read(self, stub: Stub) -> tuple[State, int]:
        return self._there.pop(0)


def pair(number: int) -> State:
    return {"left": str(number), "right": str(number)}


NOTHING: State = {}


@pytest.mark.parametrize(
    ("there", "wrong"),
    [
        ([(NOTHING, 1), (pair(1), 2), (pair(1), 2), (pair(3), 3)], ""),
        ([(NOTHING, 1), (pair(1), 2), (NOTHING, 3)], "acknowledged was left=1, right=1"),
        ([(NOTHING, 1), ({"left": "1", "right": "0"}, 2)], "there is left=1, right=0"),
        ([(NOTHING, 1), ({"left": "1"}, 2)], "there is left=1"),
        ([(NOTHING, 1), (NOTHING, 2), (pair(1), 3)], "there is left=1"),
        ([(NOTHING, 2), (NOTHING, 1)], "the revision went back from 2 to 1"),
    ],
    ids=["none", "lost", "by half", "half missing", "too late", "revision"],
)
async def test_what_does_not_follow_is_found(there: list[tuple[State, int]], wrong: str) -> None:
    found = Findings("a script")
    async with asyncio.timeout(5):
        await Scripted(found, *there).run()
    assert bool(found.lost) is bool(wrong), found.lost
    assert wrong in "".join(found.lost)
