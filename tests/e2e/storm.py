"""Programs killed at random moments while workloads change, and many workloads at once.

A few kills of each are tests. Hundreds are the reliability run's: `./dev lab --full kills`.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from grpclib import GRPCError
from grpclib.exceptions import StreamTerminatedError

from piccolo.core.errors import PiccoloError
from piccolo.rpc import wire
from tests.e2e.asking import Stub, ask, connected
from tests.e2e.workloads import Cluster, Document, shell, text_of, until, workload
from tests.lab.cluster import Lab, LoopbackLab
from tests.reliability.findings import Findings

WORKLOADS = 200
HOME = "node1"
EACH = 10  # kills of an agent, after which all must be as asked
SETTLED = 60.0  # s
PLACED = 30.0  # s until 200 workloads have their nodes, and the nodes know it
ANSWER = 30.0  # s for one call


# ---- an agent ----


def versions(version: int) -> list[Document]:
    """Two workloads, one of them a pod; each version replaces all containers."""
    env = {"VERSION": str(version)}
    container = {"image": "localhost/hello:latest", "env": env}
    containers = [{"name": name, **container} for name in ("left", "right")]
    first = {**container, "name": "first", "command": shell("true")}
    return [
        workload("web", HOME, env=env),
        workload("pair", HOME, containers=containers, initContainers=[first]),
    ]


CONTAINERS = {"web.0.web", "pair.0.first", "pair.0.left", "pair.0.right"}  # of `versions`


def shake(cluster: Cluster, version: int, chance: random.Random) -> None:
    """Ask for another version, and kill the agent while it carries it out."""
    cluster.start(*versions(version))
    time.sleep(chance.random() * 0.8)
    agent = cluster.lab.agents[HOME]
    agent.kill()
    agent.wait()
    cluster.lab.start_agent(HOME)


def wrong_containers(cluster: Cluster) -> list[str]:
    """What is not as `versions` asks: too many, too few, of an older version, or not running."""
    copies = cluster.copies(HOME)
    mine = {name: c for name, c in copies.items() if c.workload in ("web", "pair")}
    wrong = [f"{name} is missing" for name in CONTAINERS - mine.keys()]
    wrong += [f"{name} is too much" for name in mine.keys() - CONTAINERS]
    for name, copy in mine.items():
        if (copy.state == "running") is (copy.container == "first"):
            wrong.append(f"{name} is {copy.state}")
        if len({c.hash for c in mine.values() if c.instance == copy.instance}) != 1:
            wrong.append(f"{name} is of another version than those beside it")
    return wrong


def agent_killed(rounds: int, chance: random.Random) -> Findings:
    """By kill -9, between making a container and starting it, or at any other moment."""
    found = Findings("kill -9 of an agent at work, with real containers")
    with Lab(1) as lab:
        cluster, podman = Cluster(lab), lab.podman[HOME]
        lab.start_master()
        lab.start_agents()
        cluster.apply(*versions(0))
        podman.run("foreign")
        [foreign] = [c for c in podman.containers() if c["Names"] == ["foreign"]]
        for number in range(rounds):
            shake(cluster, number + 1, chance)
            found.count("kills")
            if (number + 1) % EACH and number + 1 < rounds:
                continue
            begun = time.monotonic()
            try:
                cluster.wait_settled(within=SETTLED)
                found.took("last start → all as asked", begun)
                version = cluster.execute(HOME, "web.0.web", "sh", "-c", "echo $VERSION").strip()
                if version != str(number + 1):
                    found.lost.append(f"after kill {number + 1}: version {version} runs")
            except AssertionError as error:
                found.lost.append(f"after kill {number + 1}: {error}")
            found.lost += [f"after kill {number + 1}: {w}" for w in wrong_containers(cluster)]
        [still] = [c for c in podman.containers() if c["Names"] == ["foreign"]]
        if (still["Id"], still["StartedAt"]) != (foreign["Id"], foreign["StartedAt"]):
            found.lost.append("a container that is not ours was touched")
        podman.rm("foreign")
        cluster.delete("web", "pair")
        for what in ("ps --all", "pod ls", "volume ls"):
            if left := podman.podman(*what.split(), "--quiet").stdout.split():
                found.lost.append(f"left behind: {len(left)} by podman {what}")
        found.look_for_tracebacks(lab)
    return found


# ---- the master ----

State = Mapping[str, int]  # generation of each workload that is not being deleted, by its name


@dataclass(frozen=True, slots=True)
class Operation:
    """A change of all workloads at once, and what it leads to."""

    do: Callable[[Stub], Any]
    outcome: State


class Herd:
    """Two hundred workloads that are made, changed and deleted, again and again, in one call."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._number = 0

    def next(self) -> Operation:
        self._number += 1
        tribe, step = divmod(self._number - 1, 3)
        names = [f"w{tribe}-{n}" for n in range(self._size)]
        if step == 2:
            gone = wire.DeleteWorkloadsRequest(names=names)
            return Operation(lambda stub: stub.delete_workloads(gone), {})
        text = text_of([workload(name, env={"STEP": str(step)}) for name in names])
        source = wire.Source(name="herd.yaml", text=text.encode())
        apply = wire.ApplyRequest(sources=[source])
        return Operation(lambda stub: stub.apply(apply), dict.fromkeys(names, step + 1))


def state_of(lab: Lab) -> State:
    reply = ask(lab, lambda stub: stub.get_workloads(wire.GetWorkloadsRequest()), ANSWER)
    return {w.name: w.generation for w in reply.workloads if not w.deleting}


def acknowledged(lab: Lab, operation: Operation) -> bool:
    with contextlib.suppress(PiccoloError, GRPCError, StreamTerminatedError, OSError):
        reply = ask(lab, operation.do, ANSWER)
        if reply.problems:
            raise AssertionError(f"refused: {reply.problems}")
        return True
    return False


def master_killed(
    rounds: int, chance: random.Random, store: Literal["sqlite", "etcd"], size: int = WORKLOADS
) -> Findings:
    """By kill -9, at random moments of a call that changes `size` workloads at once."""
    found = Findings(f"kill -9 of a master on {store} that takes {size} workloads at once")
    herd = Herd(size)
    with LoopbackLab(2, store=store) as lab, ThreadPoolExecutor(1) as client:
        lab.start_master()
        lab.start_agents()
        state: State = {}
        for _ in range(3):  # nobody is killed yet: this is how long it takes
            operation = herd.next()
            begun = time.monotonic()
            if not acknowledged(lab, operation):
                found.lost.append("refused without a reason")
            found.took(f"a change of {size} workloads", begun)
            state = operation.outcome
            if state_of(lab) != state:
                found.lost.append("what was acknowledged is not there")
            if state:
                _wait_placed(lab, state, found)
        longest = max(found.seconds[f"a change of {size} workloads"])
        operation = herd.next()
        for number in range(rounds):
            assert lab.master_proc is not None
            asked = client.submit(acknowledged, lab, operation)
            time.sleep(chance.random() * longest * 1.2)
            lab.master_proc.kill()
            lab.master_proc.wait()
            promised = asked.result()
            begun = time.monotonic()
            lab.start_master()
            now = state_of(lab)
            found.took("killed → serves again", begun)
            found.count("kills")
            found.count("acknowledged before the kill" if promised else "not acknowledged")
            if now == operation.outcome:
                found.count("complete after it")
                state, operation = now, herd.next()
            elif now == state:
                found.count("absent after it")
                if promised:
                    found.lost.append(f"kill {number + 1}: what was acknowledged is lost")
            else:
                found.lost.append(f"kill {number + 1}: half of a change is there: {len(now)}")
                state = now
        while not operation.outcome or state_of(lab) != operation.outcome:
            acknowledged(lab, operation)
            operation = operation if operation.outcome else herd.next()
        _wait_placed(lab, operation.outcome, found)
        found.look_for_tracebacks(lab)
    return found


def _wait_placed(lab: Lab, state: State, found: Findings) -> None:
    """Until each has its node, and each node says so."""

    def holds() -> bool:
        reply = ask(lab, lambda stub: stub.get_workloads(wire.GetWorkloadsRequest()), ANSWER)
        seen = {
            w.name: i.status.generation
            for w in reply.workloads
            for i in w.instances
            if i.status and not w.deleting  # whether those are gone, only a Podman can say
        }
        return seen == state

    begun = time.monotonic()
    try:
        until(holds, PLACED)
        found.took("answer → known to all nodes", begun)
    except AssertionError:
        found.lost.append(f"after {PLACED:g} s not all workloads are known to the nodes")


# ---- many ----


def fleet(size: int) -> Findings:
    """So many workloads with real containers, in one document, on three nodes."""
    found = Findings(f"{size} workloads with real containers in one document, on 3 nodes")
    with Lab(3) as lab:
        cluster = Cluster(lab)
        lab.start_master()
        lab.start_agents()
        documents = [workload(f"w{n}", stop={"grace": "0s"}) for n in range(size)]
        file = cluster.write(*documents)
        runs = []
        for what in ("apply → all run", "apply of the same"):
            begun = time.monotonic()
            cluster.piccolo("apply", "-f", file, timeout=600)
            found.took(what, begun)
            copies = {c.name: c.run for name in lab.nodes for c in cluster.copies(name).values()}
            runs.append(copies)
            if len(copies) != size:
                found.lost.append(f"{what}: {len(copies)} containers")
        if runs[0] != runs[1]:
            found.lost.append("the same document touched containers")
        begun = time.monotonic()
        cluster.piccolo("delete", "-f", file, timeout=600)
        found.took("delete → all gone", begun)
        for name in lab.nodes:
            if left := cluster.copies(name):
                found.lost.append(f"{len(left)} containers are left on {name}")
        if not connected(lab, *lab.nodes):
            found.lost.append("a node is not connected")
        found.look_for_tracebacks(lab)
    return found
