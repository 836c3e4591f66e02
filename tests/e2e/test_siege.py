"""Crowds at the door that never say anything whole: those inside do not notice, and whoever has a
reason to come in does."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections import deque
from dataclasses import dataclass, field

import pytest

from piccolo.rpc.gate import Limits
from tests.e2e.asking import nodes
from tests.e2e.secrets import assert_nothing_secret_was_written
from tests.e2e.stories import story
from tests.e2e.strangers import (
    plain_socket,
)
from tests.lab.cluster import LoopbackLab
from tests.lab.watch import Change

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

AGENTS = 10
HALF_OPEN = 1000
Held = deque[tuple[float, socket.socket]]  # when it was opened (0: nonsense was said on it)
SIEGE = 20.0  # s
RATE = 320  # a second, four fifths of them half-open: more than a thousand in `Limits`' 5 s
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)


@dataclass
class Siege:
    changes: list[Change] = field(default_factory=list)
    took: list[float] = field(default_factory=list)  # s, of calls meanwhile
    opened: int = 0
    joined: bool = False
    memory: int = 0  # KiB more than before
    generations: list[tuple[int, int]] = field(default_factory=list)  # before, after


@story
def siege() -> Siege:
    """A thousand half-open handshakes at any time, and random bytes, from a hundred sources."""
    told, chance = Siege(), random.Random(7)
    with LoopbackLab([f"n{n}" for n in range(AGENTS)]) as lab:
        master = lab.start_master()
        lab.start_agents(timeout=60)
        before, memory = nodes(lab), master.rss_kb()
        held: Held = deque()
        lab.nodes["late"] = lab.net.add_host("late")
        with lab.watch_nodes() as watch:
            begun = asked = time.monotonic()
            tried = 0
            while (passed := time.monotonic() - begun) < SIEGE:
                while tried < passed * RATE:
                    _besiege(lab, held, chance)
                    tried += 1
                told.opened = max(told.opened, _under_way(held))
                if told.opened >= HALF_OPEN and not lab.agents.get("late"):
                    lab.start_agent("late")
                if time.monotonic() > asked + 1.0:
                    asked = time.monotonic()
                    nodes(lab)
                    told.took.append(time.monotonic() - asked)
                time.sleep(0.05)
            told.changes = [c for c in watch.since(begun) if c.name != "late"]
            found = nodes(lab)
        told.memory = master.rss_kb() - memory
        told.joined = found["late"]["status"] == "Ready"
        told.generations = [(before[n]["generation"], found[n]["generation"]) for n in before]
        for _, each in held:
            each.close()
        assert_nothing_secret_was_written(lab)
    return told


def _under_way(held: Held) -> int:
    """How many handshakes the master has not yet had time to give up."""
    young = time.monotonic() - Limits().handshake_time
    return sum(begun > young for begun, _ in held)


def _besiege(
    lab: LoopbackLab, held: deque[tuple[float, socket.socket]], chance: random.Random
) -> None:
    """One more connection that says half of something, or nonsense; the oldest is let go."""
    source = f"127.88.{chance.randrange(10)}.{chance.randrange(1, 11)}"
    with contextlib.suppress(OSError):
        opened = plain_socket(lab, source)
        nonsense = chance.random() < 0.2
        held.append((0.0 if nonsense else time.monotonic(), opened))
        opened.sendall(chance.randbytes(chance.randrange(1, 3000)) if nonsense else HALF_A_HELLO)
    if len(held) > 2 * HALF_OPEN:
        held.popleft()[1].close()


def test_a_siege_is_not_felt_inside(siege: Siege) -> None:
    assert siege.opened >= HALF_OPEN
    shown = {(c.name, c.status, c.object["link"]["suspect"]) for c in siege.changes if c.name}
    assert {(status, suspect) for _, status, suspect in shown} <= {("Ready", False)}, shown
    assert [before for before, after in siege.generations if before != after] == []
    assert len(siege.generations) == AGENTS


def test_a_siege_keeps_nobody_out(siege: Siege) -> None:
    assert siege.joined
    assert max(siege.took) < 2.0
    assert siege.memory < 30 * 1024
