"""Workloads, and what can happen to their nodes: containers removed by hand, Podman and the agent
killed, a power cut, no master for a while, a clock that is set.

One cluster, one story: each test looks at one part of it.
"""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    LABEL_INSTANCE,
    LABEL_NODE,
    LABEL_WORKLOAD,
)
from tests.e2e.asking import connected, events
from tests.e2e.storm import CONTAINERS, HOME, shake, versions, wrong_containers
from tests.e2e.workloads import SLEEP, Cluster, Copy, Document, until, workload
from tests.lab.clock import FAKETIME, RIGHT, Clock
from tests.lab.cluster import Lab

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_podman,
    pytest.mark.slow,
    pytest.mark.timeout(240),
]

AWAY = "node2"
KILLS = 8
SEED = random.randrange(1 << 32)
NEXT_HOUR = "+1h"
WATCHED = 5.0  # s, in which the restarts of `ticks` are counted
PODMAN_BACK = 30.0  # s: the agent looks for it every 15 s at the least
ISOLATED = {"action": "Stop", "after": "2s"}


def documents() -> list[Document]:
    return [
        *versions(0),
        workload("after", HOME, dependsOn=[{"workload": "web"}]),
        workload("far", AWAY),
        workload("near", HOME, dependsOn=[{"workload": "far"}]),
        workload("done", HOME, command=["true"], restart={"policy": "OnFailure"}),
        workload("guarded", HOME, onIsolation=ISOLATED),
        workload("doomed", HOME),
    ]


ONCE = workload("once", HOME, command=SLEEP, restart={"policy": "Never"})
TICKS = workload(
    "ticks", AWAY, command=["false"], restart={"backoff": {"initial": "1s", "max": "1s"}}
)
# What runs at home for as long as nobody interferes, by the names of their containers.
LASTING = [*sorted(CONTAINERS - {"pair.0.first"}), "after.0.after", "near.0.near"]


@dataclass
class Told:
    copies: dict[str, dict[str, Copy]] = field(default_factory=dict)  # at home, by moment
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)  # in the end
    ticks: dict[str, int] = field(default_factory=dict)  # restarts within WATCHED s
    events: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # containers, when the agent had been killed
    alone: tuple[str, str] = ("", "")  # when killing containers without a master began, and ended
    foreign: list[Any] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)  # containers, pods and volumes in the end
    logs: str = ""

    def runs(self, moment: str) -> dict[str, tuple[str, int]]:
        return {name: self.copies[moment][name].run for name in LASTING}


class Tale:
    def __init__(self, lab: Lab, told: Told) -> None:
        self.lab = lab
        self.told = told
        self.cluster = Cluster(lab)
        self.podman = lab.podman[HOME]

    def tell(self) -> None:
        self.cluster.apply(*documents(), ONCE)
        self.cluster.start(TICKS)
        self.foreign_container()
        self.look("begin")
        self.interfere()
        self.restart_programs()
        self.kill_agent_at_random()
        self.be_alone()
        self.told.workloads = self.cluster.all()
        self.told.events = events(self.lab)
        self.told.foreign.append(self.foreign())
        self.end()

    def look(self, moment: str) -> None:
        self.told.copies[moment] = self.cluster.copies(HOME)

    def running(self, *names: str) -> bool:
        copies = self.cluster.copies(HOME)
        return all(name in copies and copies[name].state == "running" for name in names)

    # ---- its parts ----

    def foreign_container(self) -> None:
        """By all its labels one of ours, but of another node's agent."""
        of = {LABEL_WORKLOAD: "web", LABEL_INSTANCE: "web.0", LABEL_CONTAINER: "web"}
        labels = {**of, LABEL_HASH: "old", LABEL_NODE: "somebody-else"}
        options = [f"--label={key}={value}" for key, value in labels.items()]
        self.podman.run("foreign", *SLEEP, options=options)
        self.podman.run("plain", *SLEEP)
        self.told.foreign.append(self.foreign())

    def foreign(self) -> list[Any]:
        listed = {c["Names"][0]: c for c in self.podman.containers()}
        return [(c["Id"], c["StartedAt"], c["State"]) for c in (listed["foreign"], listed["plain"])]

    def interfere(self) -> None:
        """By hand, behind our back."""
        self.podman.rm("web.0.web")
        # It may find the container running again before it has cleaned up after it, and complain.
        self.podman.podman("stop", "--time", "1", "pair.0.left", check=False)
        until(lambda: self.running(*LASTING))
        self.cluster.wait_settled("web", "pair")
        self.look("mended")

    def restart_programs(self) -> None:
        for sig in (signal.SIGTERM, signal.SIGKILL):
            self.lab.agents[HOME].kill(sig)
            self.lab.agents[HOME].wait()
            self.lab.start_agent(HOME)
            until(lambda: connected(self.lab, HOME))
        self.podman.stop_service()
        self.podman.start_service()
        self.cluster.wait_settled("web", "pair")
        self.look("restarted")
        self.podman.kill_service()
        self.podman.kill("near.0.near")
        self.lab.agents[HOME].kill()
        self.lab.agents[HOME].wait()
        self.podman.start_service()
        self.lab.start_agent(HOME)
        until(lambda: self.running("near.0.near"), PODMAN_BACK)
        self.look("killed")

    def kill_agent_at_random(self) -> None:
        """While it replaces containers."""
        chance = random.Random(SEED)
        for number in range(KILLS):
            shake(self.cluster, number + 1, chance)
        self.cluster.wait_settled("web", "pair", "after", within=40)
        self.told.wrong = wrong_containers(self.cluster)
        self.look("shaken")

    def be_alone(self) -> None:
        """A power cut, and no master to be seen after it; meanwhile a workload is deleted."""
        clock = Clock(self.lab.nodes[AWAY].dir)
        self.lab.net.cut(HOME)
        self.lab.agents[HOME].terminate()
        self.podman.podman("stop", "--all", "--time", "0")
        for name in ("foreign", "plain"):
            self.podman.start(name)
        self.told.foreign = [self.foreign()]
        self.cluster.piccolo("delete", "workload", "doomed", "--no-wait")
        self.lab.start_agent(HOME)
        self.told.ticks["before"] = self.count_ticks()
        clock.set(NEXT_HOUR)
        until(lambda: self.running(*LASTING, "doomed.0.doomed"))
        self.look("booted")
        begun = now()
        for name in ("web.0.web", "after.0.after", "web.0.web"):
            self.kill(name)
        until(lambda: not self.running("guarded.0.guarded"), 10)
        self.told.ticks["after"] = self.count_ticks()
        clock.set(RIGHT)
        self.look("alone")
        self.told.alone = (begun, now())
        self.lab.net.heal(HOME)
        until(lambda: connected(self.lab, HOME))
        until(lambda: "doomed" not in self.cluster.all())
        self.cluster.wait_settled("guarded", "web", "near")
        self.told.ticks["back"] = self.count_ticks()
        self.look("end")

    def kill(self, name: str) -> None:
        """A container, and wait until it runs again."""
        before = self.cluster.copies(HOME)[name]

        def runs_again() -> bool:
            now = self.cluster.copies(HOME)[name]
            return now.state == "running" and now.run != before.run

        self.podman.kill(name)
        until(runs_again)

    def count_ticks(self) -> int:
        before = self.cluster.status("ticks")["restarts"]
        time.sleep(WATCHED)
        after: int = self.cluster.status("ticks")["restarts"]
        return after - int(before)

    def end(self) -> None:
        for name in ("foreign", "plain"):
            self.podman.rm(name)
        self.cluster.delete(*self.cluster.all())
        listed = ("ps --all", "pod ls", "volume ls")
        for what in listed:
            self.told.rest += self.podman.podman(*what.split(), "--quiet").stdout.split()
        programs = (self.lab.master_proc, *self.lab.agents.values())
        self.told.logs = "".join(p.log.read_text() for p in programs if p is not None)


def now() -> str:
    """As events have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@pytest.fixture(scope="module")
def shaken() -> Told:
    told = Told()
    with Lab(2) as lab:
        lab.start_master()
        clock = Clock(lab.nodes[AWAY].dir).env if FAKETIME else {}
        with lab.watch_nodes() as watch:
            lab.start_agent(HOME)
            lab.start_agent(AWAY, env=clock)
            for name in lab.nodes:
                watch.wait_status(name, "Ready", 20)
        Tale(lab, told).tell()
    return told


def test_a_container_removed_by_hand_is_made_again(shaken: Told) -> None:
    before, after = shaken.runs("begin"), shaken.runs("mended")
    assert before["web.0.web"][0] != after["web.0.web"][0]
    assert before["pair.0.left"] != after["pair.0.left"]
    for name in ("pair.0.right", "after.0.after", "near.0.near"):
        assert before[name] == after[name]


def test_nothing_is_touched_because_agent_or_podman_start_again(shaken: Told) -> None:
    assert shaken.runs("mended") == shaken.runs("restarted")
    before, after = shaken.runs("restarted"), shaken.runs("killed")
    assert before.pop("near.0.near") != after.pop("near.0.near")  # it was killed meanwhile
    assert before == after


def test_an_agent_killed_at_random_leaves_no_orphan_and_no_duplicate(shaken: Told) -> None:
    assert shaken.wrong == [], f"seed {SEED}"
    names = set(shaken.copies["shaken"])
    others = {f"{name}.0.{name}" for name in ("after", "near", "done", "once", "guarded", "doomed")}
    assert names == CONTAINERS | others, f"seed {SEED}"
    assert shaken.runs("shaken")["near.0.near"] == shaken.runs("killed")["near.0.near"]


def test_a_node_that_boots_without_the_master_starts_what_belongs_there(shaken: Told) -> None:
    booted = shaken.copies["booted"]
    for name in LASTING:
        assert booted[name].state == "running"
        assert booted[name].run != shaken.copies["shaken"][name].run


def test_a_job_is_not_run_again_after_a_power_cut(shaken: Told) -> None:
    begin, end = shaken.copies["begin"], shaken.copies["end"]
    assert begin["once.0.once"].state == "running"
    for name in ("done.0.done", "once.0.once"):
        assert (end[name].id, end[name].state) == (begin[name].id, "exited")
    assert shaken.workloads["done"]["state"] == "Completed"
    assert shaken.workloads["once"]["failed"]


def test_one_that_must_not_run_on_a_node_cut_off_is_stopped(shaken: Told) -> None:
    assert shaken.copies["alone"]["guarded.0.guarded"].state == "exited"
    assert shaken.copies["end"]["guarded.0.guarded"].state == "running"


def test_what_was_deleted_meanwhile_is_no_ghost(shaken: Told) -> None:
    assert "doomed.0.doomed" in shaken.copies["alone"]
    assert "doomed.0.doomed" not in shaken.copies["end"]
    assert "doomed" not in shaken.workloads


def test_what_happened_meanwhile_is_told_later_in_order_and_once(shaken: Told) -> None:
    begun, ended = shaken.alone
    told = [
        event["subject"]
        for event in shaken.events
        if begun <= event["time"] <= ended
        and event["reason"] == "Crashed"
        and event["node"] == HOME
        and event["subject"] in ("web.0", "after.0")
    ]
    assert told == ["web.0", "after.0", "web.0"]


@pytest.mark.skipif(FAKETIME is None, reason="needs faketime: ./dev setup says how to install")
def test_a_clock_that_is_set_disturbs_no_back_off(shaken: Told) -> None:
    """It neither waits for the hour to be over, nor takes all pauses for over."""
    for moment, count in shaken.ticks.items():
        assert 1 <= count <= 2 * WATCHED + 1, (moment, shaken.ticks)


def test_what_is_not_ours_is_not_touched(shaken: Told) -> None:
    before, after = shaken.foreign
    assert before == after


def test_nothing_is_left(shaken: Told) -> None:
    assert shaken.rest == []
    assert "Traceback" not in shaken.logs
