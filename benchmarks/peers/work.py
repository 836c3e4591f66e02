"""How soon others run what was asked for, and what they take meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

from benchmarks.deploying import milliseconds, workload, write_documents
from benchmarks.figures import Comparison, Plan
from benchmarks.ground import join, rss_mb
from benchmarks.peers import docker, serf
from benchmarks.peers.serf import Serf
from benchmarks.peers.swarm import Swarm
from tests.lab.cluster import Lab
from tests.lab.podman import HELLO

KB_PER_MB = 1024


def starting(plan: Plan) -> Iterator[Comparison]:
    """One new container on the host's network, of an image of busybox that the node has. In turn:
    `piccolo apply`, which ends when it has seen the workload running; `docker service create
    --detach`, until the manager, asked every 20 ms, calls its task running; and bare `podman run
    --detach` on the node, which has no cluster to ask. Each from the start of the command. What
    was started is removed before the next. The first of each does not count.
    """
    seconds: dict[str, list[float]] = {}
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(1))
        lab.start_master()
        join(lab)
        swarm = None if docker.missing() else stack.enter_context(closing(Swarm(lab)))
        if swarm is not None:
            for worker in swarm.workers.values():
                worker.import_image()
        for number in range(plan.runs + 1):
            for who, action in _starters(lab, swarm, f"w{number}").items():
                ms = milliseconds(action)
                if number:
                    seconds.setdefault(who, []).append(ms)
            _remove(lab, swarm, f"w{number}")
    what, ours = "new container: asked for → running", seconds["PICCOLO"]
    theirs = seconds.get(Swarm.name, [])
    yield Comparison(what, Swarm.name, "ms", ours, theirs, unless=docker.missing())
    yield Comparison(what, "podman run", "ms", ours, seconds["podman run"])


def memory(plan: Plan) -> Iterator[Comparison]:
    """A master and one node, on each of them a member of each peer; nothing runs and nothing
    happens while they settle. Memory is the RSS of the processes with their children: of Swarm
    dockerd and containerd, which also are what runs containers; so the agent is shown with
    Podman's service too. Serf knows of members only.
    """
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(1))
        master = lab.start_master()
        join(lab)
        swarm = None if docker.missing() else stack.enter_context(closing(Swarm(lab)))
        members = None if serf.missing() else Serf(lab)
        time.sleep(plan.settle)
        service = lab.podman["node1"].service
        assert service is not None
        ours, agent = [rss_mb(master)], [rss_mb(lab.agents["node1"])]
        with_podman = [agent[0] + rss_mb(service)]
        manager = [swarm.manager.rss_kb() / KB_PER_MB] if swarm else []
        worker = [swarm.workers["node1"].rss_kb() / KB_PER_MB] if swarm else []
        member = [rss_mb(members.agents["node1"])] if members else []
    why = docker.missing()
    whose = "memory (RSS), idle:"
    yield Comparison(f"{whose} master, manager", Swarm.name, "MB", ours, manager, unless=why)
    yield Comparison(f"{whose} agent, worker", Swarm.name, "MB", agent, worker, unless=why)
    both = f"{whose} agent with Podman's service, worker"
    yield Comparison(both, Swarm.name, "MB", with_podman, worker, unless=why)
    yield Comparison(f"{whose} agent", Serf.name, "MB", agent, member, unless=serf.missing())


def _starters(lab: Lab, swarm: Swarm | None, name: str) -> dict[str, Callable[[], object]]:
    path = write_documents(lab, [workload(name, "host")])
    starters: dict[str, Callable[[], object]] = {
        "PICCOLO": lambda: lab.piccolo("apply", "-f", path),
        "podman run": lambda: lab.podman["node1"].run(f"bare-{name}", image=HELLO),
    }
    if swarm is not None:
        starters[swarm.name] = lambda: swarm.create_service(name)
    return starters


def _remove(lab: Lab, swarm: Swarm | None, name: str) -> None:
    lab.piccolo("delete", "workload", name)
    lab.podman["node1"].rm(f"bare-{name}")
    if swarm is not None:
        swarm.remove_service(name)
