"""What can happen to an agent, all of it at once in one cluster: each node has its own trouble.

`story` does it, in the order of its lines; every test then looks at one node.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.asking import BACK, DETECTED, condition, events, eventually, node, nodes, reasons
from tests.e2e.forwarder import TcpForwarder
from tests.lab.cluster import PORT, LoopbackLab
from tests.lab.process import Proc
from tests.lab.watch import Change, Watch

pytestmark = pytest.mark.slow

NAMES = ["killed", "stopped", "frozen", "blocked", "original", "steady"]
COPY, NAMESAKE, GUEST = "copy", "namesake", "guest"  # agents that are no nodes, or not for long


@dataclass
class Story:
    lab: LoopbackLab
    watch: Watch
    begun: float = 0.0  # monotonic, when the first faults came
    ids: dict[str, str] = field(default_factory=dict)
    faults: dict[str, float] = field(default_factory=dict)  # when
    over: dict[str, float] = field(default_factory=dict)  # when the agent could work again
    ended: dict[str, Proc] = field(default_factory=dict)  # agents that ended by themselves
    seen: dict[str, Any] = field(default_factory=dict)

    def lost(self, name: str) -> Change:
        return self.watch.wait_status(name, "NotReady", 2 * DETECTED, since=self.faults[name])

    def back(self, name: str) -> Change:
        return self.watch.wait_status(name, "Ready", 2 * BACK, since=self.over[name])


def run_agent(lab: LoopbackLab, host: str, name: str, master: str = "") -> Proc:
    """An agent on `host` that calls itself `name`, and knows no other master than the one given."""
    argv = [str(lab.program), "agent", "--master", master or lab.address, "--name", name]
    argv += ["--data-dir", str(lab.nodes[host].dir / "data")]
    argv += ["--podman-socket", str(lab.sockets[host])]
    env = {"PICCOLO_TOKEN": lab.join_token()}
    agent = Proc(lab.site, lab.nodes[host], "agent", argv, env=env)
    lab.agents.setdefault(host, agent)
    return agent


def tell(story: Story) -> None:
    lab, agents = story.lab, story.lab.agents
    story.ids = {name: found["id"] for name, found in nodes(lab).items()}
    shutil.copytree(lab.nodes["original"].dir / "data", lab.nodes[COPY].dir / "data")

    story.begun = time.monotonic()
    for name, sig in (("killed", signal.SIGKILL), ("stopped", signal.SIGTERM)):
        story.faults[name] = time.monotonic()
        agents[name].kill(sig)
    story.faults["frozen"] = time.monotonic()
    agents["frozen"].freeze()
    run_agent(lab, COPY, "original")
    story.ended["namesake"] = run_agent(lab, NAMESAKE, "steady")
    story.ended["second"] = run_agent(lab, "steady", "second")  # on the directory of the first

    for name in ("killed", "stopped", "frozen"):
        story.lost(name)
    story.over["killed"] = time.monotonic()
    lab.start_agent("killed")
    story.over["frozen"] = time.monotonic()
    agents["frozen"].thaw()
    story.seen["refused"] = eventually(lambda: "DuplicateIdentity" in reasons(lab), 5)
    eventually(lambda: condition(node(lab, "blocked"), "DatagramsBlocked"), 10)
    story.seen["blocked"] = node(lab, "blocked")

    story.faults["blocked"] = time.monotonic()
    agents["blocked"].freeze()
    story.seen["original"] = node(lab, "original")
    story.over["original"] = time.monotonic()
    agents["original"].kill()
    story.back("killed")
    story.back("frozen")
    story.lost("blocked")
    story.over["blocked"] = time.monotonic()
    agents["blocked"].thaw()
    story.back("blocked")
    eventually(
        lambda: node(lab, "original")["generation"] > story.seen["original"]["generation"], 9
    )


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with LoopbackLab([*NAMES, COPY, NAMESAKE, GUEST]) as lab:
        firewall = lab.net.add_host("firewall")
        listen, master = (firewall.ip, PORT), (lab.master.ip, PORT)
        lab.start_master()
        with TcpForwarder(listen, master), lab.watch_nodes() as watch:
            for name in NAMES:
                run_agent(lab, name, name, firewall.ip if name == "blocked" else "")
            for name in NAMES:
                watch.wait_status(name, "Ready", 20)
            told = Story(lab, watch)
            tell(told)
            yield told


def test_killed_and_started_again(story: Story) -> None:
    lost, back = story.lost("killed"), story.back("killed")
    assert lost.at - story.faults["killed"] <= DETECTED
    assert lost.object["reason"] == "ConnectionClosed"
    assert back.at - story.over["killed"] <= BACK
    assert back.object["id"] == story.ids["killed"]


def test_stopped(story: Story) -> None:
    lost = story.lost("stopped")
    assert lost.at - story.faults["stopped"] <= 1.0  # it said so: there is nothing to wait for
    assert lost.object["reason"] == "AgentStopped"
    assert story.lab.agents["stopped"].wait() == 0


def test_frozen_and_thawed(story: Story) -> None:
    lost, back = story.lost("frozen"), story.back("frozen")
    assert lost.at - story.faults["frozen"] <= DETECTED
    assert lost.object["reason"] == "Silent"
    assert back.at - story.over["frozen"] <= BACK


def test_datagrams_blocked(story: Story) -> None:
    blocked = story.seen["blocked"]
    assert blocked["status"] == "Ready"
    assert blocked["link"]["datagrams"] is False
    assert "DatagramsBlocked" in reasons(story.lab, "blocked")
    assert condition(node(story.lab, "steady"), "DatagramsBlocked") is False


def test_datagrams_blocked_and_frozen(story: Story) -> None:
    lost, back = story.lost("blocked"), story.back("blocked")
    assert lost.at - story.faults["blocked"] <= DETECTED
    assert lost.object["reason"] == "Silent", lost.object["message"]
    assert back.at - story.over["blocked"] <= BACK


def test_a_copy_of_a_living_node_is_refused_and_reported_once(story: Story) -> None:
    told = [e for e in events(story.lab, "original") if e["reason"] == "DuplicateIdentity"]
    assert len(told) == 1
    assert told[0]["severity"] == "error"
    assert "delete the data directory" in story.lab.agents[COPY].output()
    killed_at = story.over["original"]
    before = [c for c in story.watch.since(story.begun) if c.at < killed_at]
    assert [c.status for c in before if c.name == "original" and c.status != "Ready"] == []


def test_the_copy_takes_over_when_the_first_is_gone(story: Story) -> None:
    now = wait_ready(story.lab, "original", BACK)
    assert now["id"] == story.ids["original"]
    assert now["link"]["connected"]
    assert now["generation"] > story.seen["original"]["generation"]
    assert story.lab.agents[COPY].alive


def test_the_name_of_another_node_is_refused(story: Story) -> None:
    namesake = story.ended["namesake"]
    assert namesake.wait() == 1
    said = namesake.output()
    assert 'the name "steady" belongs to another node' in said
    assert "--name" in said
    assert "piccolo remove node steady" in said
    assert "Traceback" not in said


def test_a_second_agent_on_one_data_directory_is_refused(story: Story) -> None:
    second = story.ended["second"]
    assert second.wait() == 1
    assert "another agent runs on" in second.output()
    assert "--data-dir" in second.output()
    assert "Traceback" not in second.output()
    assert "second" not in nodes(story.lab)


def test_nobody_else_is_disturbed(story: Story) -> None:
    told = [c.object for c in story.watch.since(story.begun) if c.name == "steady"]
    assert [c for c in told if c["status"] != "Ready" or c["link"]["suspect"]] == []
    assert set(nodes(story.lab)) == set(NAMES)


def test_removed_nodes_are_told_and_may_join_again(story: Story) -> None:
    lab = story.lab
    agent = lab.start_agent(GUEST)
    story.watch.wait_status(GUEST, "Ready", 10)
    before = node(lab, GUEST)
    assert "removed" in lab.piccolo("remove", "node", GUEST).stdout
    assert agent.wait(3) == 0
    assert "to join anew, start the agent with a new token" in agent.output()
    assert GUEST not in nodes(lab)
    story.watch.wait_for(lambda c: (c.type, c.name) == ("DELETED", GUEST), 2)

    lab.start_agent(GUEST)
    again = wait_ready(lab, GUEST, 10)
    assert again["id"] == before["id"]
    assert again["createdAt"] > before["createdAt"]


def test_no_traceback_anywhere(story: Story) -> None:
    assert story.lab.master_proc is not None
    for program in (story.lab.master_proc, *story.lab.agents.values()):
        assert "Traceback" not in program.output(), program.error("has a traceback")


def wait_ready(lab: LoopbackLab, name: str, within: float) -> dict[str, Any]:
    """The node, as soon as it is Ready."""
    eventually(lambda: nodes(lab).get(name, {}).get("status") == "Ready", within)
    return node(lab, name)
