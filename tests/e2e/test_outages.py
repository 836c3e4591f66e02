"""The master is killed, stopped, frozen; its disk is full; its etcd is away.

Four clusters at the same time, each with its own trouble: most of it is waiting.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from grpclib import GRPCError
from grpclib.exceptions import StreamTerminatedError

from piccolo.core.errors import PiccoloError
from piccolo.core.nodes.liveness import PROFILES
from piccolo.rpc import wire
from tests.e2e.asking import (
    DETECTED,
    RETURNED,
    Stub,
    ask,
    connected,
    degraded,
    events,
    eventually,
    node,
    nodes,
)
from tests.e2e.stories import story
from tests.lab.cluster import LoopbackLab
from tests.lab.watch import Change

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

ROUNDS = 4
SEED = random.randrange(1 << 32)
FROZEN = 8.0  # s
ETCD_AWAY = 10.0  # s


@dataclass
class Told:
    """What a story leaves behind."""

    before: dict[str, dict[str, Any]] = field(default_factory=dict)  # nodes, by name
    after: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)  # what a watching client was told
    figures: dict[str, list[float]] = field(default_factory=dict)  # s
    labels: dict[str, str] = field(default_factory=dict)  # acknowledged
    counts: list[tuple[int, int]] = field(default_factory=list)  # promised, found; per kill
    exit_code: int | None = None
    seen: dict[str, Any] = field(default_factory=dict)
    log: str = ""

    def statuses(self, name: str) -> set[str]:
        return {c.status for c in self.changes if c.name == name}

    def took(self, what: str, since: float) -> None:
        self.figures.setdefault(what, []).append(time.monotonic() - since)

    def end(self, lab: LoopbackLab) -> None:
        assert lab.master_proc is not None
        self.after, self.events = nodes(lab), events(lab)
        self.log = lab.master_proc.log.read_text()


def label(lab: LoopbackLab, told: Told, text: str) -> None:
    """Have a label acknowledged."""
    lab.piccolo("label", "node", "steady", text)
    key, _, value = text.partition("=")
    told.labels[key] = value


class Scribe(threading.Thread):
    """Counts up a label of a node, as fast as the master acknowledges it."""

    def __init__(self, lab: LoopbackLab, name: str) -> None:
        super().__init__(daemon=True)
        self._lab = lab
        self._name = name
        self._ended = threading.Event()
        self.acknowledged = 0

    def run(self) -> None:
        while not self._ended.wait(0.01):
            number = self.acknowledged + 1
            request = wire.LabelNodeRequest(
                node=self._name, set={"count": str(number)}, overwrite=True
            )
            with contextlib.suppress(PiccoloError, GRPCError, StreamTerminatedError, OSError):
                ask(self._lab, partial(_label, request))
                self.acknowledged = number

    def written(self) -> int:
        """As the master has it."""
        return int(node(self._lab, self._name)["labels"].get("count", "0"))

    def end(self) -> None:
        self._ended.set()
        self.join()


async def _label(request: wire.LabelNodeRequest, stub: Stub) -> None:
    await stub.label_node(request)


@story
def killed() -> Told:
    """kill -9 at random moments, also while the agents come back; then SIGTERM."""
    told, chance = Told(), random.Random(SEED)
    with LoopbackLab(["steady", "other", "away", "dies"]) as lab:
        lab.start_master()
        lab.start_agents()
        lab.agents["away"].terminate()
        eventually(lambda: node(lab, "away")["status"] == "NotReady", 2)
        told.before = nodes(lab)
        with lab.watch_nodes() as watch:
            begun = time.monotonic()
            scribe = Scribe(lab, "other")
            scribe.start()
            for number in range(ROUNDS):
                label(lab, told, f"round{number}=yes")
                assert lab.master_proc is not None
                time.sleep(chance.random() * 0.4)
                lab.master_proc.kill()
                lab.master_proc.wait()
                promised = scribe.acknowledged
                if number == ROUNDS - 1:
                    lab.agents["dies"].kill()
                time.sleep(chance.choice((0.0, chance.random() * 1.5)))
                lab.start_master()
                told.counts.append((promised, scribe.written()))
                if number % 2 == 0:  # else it is killed again while they come back
                    listening = time.monotonic()
                    eventually(lambda: connected(lab, "steady", "other"), 2 * RETURNED)
                    told.took("back", listening)
            listening = time.monotonic()
            eventually(lambda: connected(lab, "steady", "other"), 2 * RETURNED)
            told.took("back", listening)

            scribe.end()
            assert lab.master_proc is not None
            ending = time.monotonic()
            told.exit_code = lab.master_proc.terminate()
            told.took("end", ending)
            lab.start_master()
            listening = time.monotonic()
            eventually(lambda: connected(lab, "steady", "other"), 2 * RETURNED)
            told.took("back", listening)
            eventually(lambda: node(lab, "dies")["status"] == "NotReady", 2 * RETURNED)
            told.took("missed", listening)
            told.changes = watch.since(begun)
        told.end(lab)
    return told


@story
def frozen() -> Told:
    """The master is held up for so long that all agents give it up."""
    told = Told()
    with LoopbackLab(["one", "two", "three"]) as lab:
        master = lab.start_master()
        lab.start_agents()
        told.before = nodes(lab)
        with lab.watch_nodes() as watch:
            begun = time.monotonic()
            master.freeze()
            time.sleep(FROZEN)
            master.thaw()
            eventually(lambda: connected(lab, *lab.names), 2 * RETURNED)
            time.sleep(PROFILES["wired"].deaf_after)  # whoever is going to be judged now is
            told.changes = watch.since(begun)
        told.end(lab)
    return told


@story
def full_disk() -> Told:
    """The file system below the master's data is full for a while; later the master is killed."""
    told = Told()
    with LoopbackLab(["steady", "dies"]) as lab:
        data = lab.master.dir / "data"
        data.mkdir()
        lab.site.undo("umount", str(data))
        size = ["-o", "size=4m"]
        subprocess.run(["mount", "-t", "tmpfs", *size, "tmpfs", str(data)], check=True)
        lab.start_master()
        lab.start_agents()
        label(lab, told, "before=yes")
        told.before = nodes(lab)
        with lab.watch_nodes() as watch:
            fill(data / "filler")
            refused(lab, told)
            begun = time.monotonic()
            lab.agents["dies"].kill()
            told.changes = [watch.wait_status("dies", "NotReady", 2 * DETECTED, since=begun)]
            told.took("detected", begun)
            (data / "filler").unlink()
            freed = time.monotonic()
            eventually(lambda: not degraded(lab), 15)
            told.took("recovered", freed)
        label(lab, told, "after=yes")
        assert lab.master_proc is not None
        lab.master_proc.kill()
        lab.master_proc.wait()
        restart(lab)
        told.end(lab)
    return told


def fill(path: Path) -> None:
    """Until not a byte is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@story
def etcd_away() -> Told:
    """etcd is killed, and comes back later; then the master is restarted."""
    told = Told()
    with LoopbackLab(["steady", "dies"], store="etcd") as lab:
        lab.start_master()
        lab.start_agents()
        label(lab, told, "before=yes")
        told.before = nodes(lab)
        assert lab.etcd_proc is not None
        with lab.watch_nodes() as watch:
            gone = time.monotonic()
            lab.etcd_proc.kill()
            lab.etcd_proc.wait()
            refused(lab, told)
            begun = time.monotonic()
            lab.agents["dies"].kill()
            told.changes = [watch.wait_status("dies", "NotReady", 2 * DETECTED, since=begun)]
            told.took("detected", begun)
            time.sleep(max(0.0, gone + ETCD_AWAY - time.monotonic()))
            lab.start_etcd()
            served = time.monotonic()
            eventually(lambda: not degraded(lab), 15)
            told.took("recovered", served)
        label(lab, told, "after=yes")
        assert lab.master_proc is not None
        lab.master_proc.terminate()  # a killed one would be waited for, see `store.etcd.holder`
        restart(lab)
        told.end(lab)
    return told


def refused(lab: LoopbackLab, told: Told) -> None:
    """What clients see of a store that takes nothing."""
    told.seen["label"] = lab.piccolo("label", "node", "steady", "lost=yes", check=False)
    told.seen["get"] = lab.piccolo("get", "nodes", "-o", "json")
    told.seen["status"] = json.loads(lab.piccolo("status", "-o", "json").stdout)
    told.seen["health"] = lab.piccolo("health", "steady")


def restart(lab: LoopbackLab) -> None:
    lab.start_master()
    eventually(lambda: connected(lab, "steady"), 2 * RETURNED)


# ---- killed ----


def test_all_nodes_are_known_after_each_kill(killed: Told) -> None:
    kept = ("id", "createdAt", "ip", "role", "type")
    assert {n: [d[k] for k in kept] for n, d in killed.after.items()} == {
        n: [d[k] for k in kept] for n, d in killed.before.items()
    }


def test_a_killed_master_blames_no_node_that_is_there(killed: Told) -> None:
    for name in ("steady", "other"):
        assert killed.statuses(name) <= {"Ready"}, f"seed {SEED}"
        told = [e["reason"] for e in killed.events if e["node"] == name]
        assert not {"ConnectionClosed", "Silent", "Deaf", "HeartbeatTimeout"} & set(told)
        assert killed.after[name]["since"] == killed.before[name]["since"]


def test_sessions_are_back_within_the_back_off(killed: Told) -> None:
    assert max(killed.figures["back"]) <= RETURNED, f"seed {SEED}: {killed.figures}"


def test_a_node_that_was_away_before_still_is_for_the_same_reason(killed: Told) -> None:
    kept = ("status", "reason", "message", "since")
    before, after = killed.before["away"], killed.after["away"]
    assert [after[key] for key in kept] == [before[key] for key in kept]
    assert after["reason"] == "AgentStopped"
    assert killed.statuses("away") <= {"NotReady"}


def test_a_node_that_died_while_the_master_was_away_is_missed(killed: Told) -> None:
    assert killed.after["dies"]["reason"] == "ConnectionClosed"
    assert max(killed.figures["missed"]) <= RETURNED + 1.0


def test_what_was_acknowledged_before_a_kill_is_there(killed: Told) -> None:
    assert killed.after["steady"]["labels"] == killed.labels
    assert len(killed.labels) == ROUNDS
    assert [(p, found) for p, found in killed.counts if found < p] == [], f"seed {SEED}"
    assert killed.counts[-1][0] > ROUNDS  # it was killed in the middle of it


def test_a_stopped_master_ends_soon_and_in_peace(killed: Told) -> None:
    assert killed.exit_code == 0
    assert max(killed.figures["end"]) < 3.0
    assert "Traceback" not in killed.log


# ---- frozen ----


def test_a_frozen_master_blames_nobody(frozen: Told) -> None:
    for name, before in frozen.before.items():
        assert frozen.statuses(name) <= {"Ready"}
        assert frozen.after[name]["status"] == "Ready"
        assert frozen.after[name]["since"] == before["since"]
        assert frozen.after[name]["link"]["connected"]
    assert "NotReady" not in "".join(event["message"] for event in frozen.events)
    assert "no node is blamed" in frozen.log


# ---- the store is away ----


class StoreIsAway:
    """Expectations of both engines; `told` is the story."""

    def test_the_view_is_served_and_marked(self, told: Told) -> None:
        shown = told.seen["get"]
        assert {n["name"]: n["status"] for n in json.loads(shown.stdout)} == {
            "steady": "Ready",
            "dies": "Ready",
        }
        assert "the master is degraded: served from memory" in shown.stderr
        assert told.seen["status"]["master"]["degraded"] is True
        assert "healthy" in told.seen["health"].stdout

    def test_what_cannot_be_kept_is_not_promised(self, told: Told) -> None:
        refused = told.seen["label"]
        assert refused.returncode == 4
        assert refused.stdout == ""
        assert refused.stderr.startswith("piccolo: ")
        assert "Traceback" not in refused.stderr
        assert "lost" not in told.after["steady"]["labels"]

    def test_a_lost_node_is_noticed_all_the_same(self, told: Told) -> None:
        assert max(told.figures["detected"]) <= DETECTED
        assert told.changes[0].object["reason"] == "ConnectionClosed"

    def test_it_recovers_by_itself(self, told: Told) -> None:
        assert max(told.figures["recovered"]) <= 10.0
        why = [e["reason"] for e in told.events if e["subject"] == "store"]
        assert why == ["StoreUnavailable", "StoreRecovered"]

    def test_nothing_was_lost(self, told: Told) -> None:
        """Seen by the next master."""
        assert told.after["steady"]["labels"] == {"before": "yes", "after": "yes"}
        assert told.after["dies"]["status"] == "NotReady"
        assert told.after["dies"]["since"] == told.changes[0].object["since"]
        lost = [e for e in told.events if e["node"] == "dies" and e["reason"] == "ConnectionClosed"]
        assert len(lost) == 1
        assert "Traceback" not in told.log


@pytest.mark.needs_root
class TestFullDisk(StoreIsAway):
    @pytest.fixture
    def told(self, full_disk: Told) -> Told:
        return full_disk

    def test_the_message_names_the_remedy(self, told: Told) -> None:
        assert "no space left on the disk" in told.seen["label"].stderr
        assert "no space left on the disk" in told.seen["status"]["master"]["message"]


@pytest.mark.needs_etcd
class TestEtcdAway(StoreIsAway):
    @pytest.fixture
    def told(self, etcd_away: Told) -> Told:
        return etcd_away
