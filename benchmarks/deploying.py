"""How long it takes until what was asked for runs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, Plan
from benchmarks.ground import PATIENCE, CpuMeter, join, make_lab, rss_mb
from tests.lab.cluster import Lab
from tests.lab.errors import LabError
from tests.lab.podman import HELLO
from tests.lab.watch import Change

FLEET, NODES = 50, 3
NETWORKS = ("host", "bridge")


def deploy(plan: Plan) -> Iterator[Figure]:
    """A workload of one container that is new: from the start of `piccolo apply`, which waits until
    it sees it running, to its end. In turn with it `podman run --detach` of the same image on the
    same kind of network, on the same node, and `piccolo get nodes`. Then the same document again,
    unchanged. The first of each does not count.
    """
    with make_lab(1, containers=True) as lab:
        lab.start_master()
        join(lab)
        for network in NETWORKS:
            yield from _deployed(lab, network, plan.runs)


def _deployed(lab: Lab, network: str, runs: int) -> Iterator[Figure]:
    applied, bare, asked, again = [], [], [], []
    for number in range(runs + 1):
        name = f"{network}{number}"
        document = write_documents(lab, [workload(name, network)])
        applied.append(milliseconds(partial(lab.piccolo, "apply", "-f", document)))
        before = _containers(lab)
        again.append(milliseconds(partial(lab.piccolo, "apply", "-f", document)))
        if _containers(lab) != before:
            raise LabError("an unchanged document touched a container")
        mode = "podman" if network == "bridge" else network
        run = partial(lab.podman["node1"].run, f"bare-{name}", network=mode)
        bare.append(milliseconds(run))
        asked.append(milliseconds(lambda: lab.piccolo("get", "nodes")))
        lab.piccolo("delete", "workload", name)
        lab.podman["node1"].rm(f"bare-{name}")
    allowed = [1.3 * b + g + 100 for b, g in zip(bare, asked, strict=True)][1:]
    shares = [a / limit for a, limit in zip(applied[1:], allowed, strict=True)]
    yield Figure(f"apply → running, {network} network", "", "ms", applied[1:])
    yield Figure("— beside it, podman run", "", "ms", bare[1:])
    yield Figure("— as a share of 1.3 × that + get nodes + 100 ms", "≤ 1", "×", shares, 1.0)
    yield Figure("apply of an unchanged document", "≤ 300 ms", "ms", again[1:], 300.0)


def fleet(plan: Plan) -> Iterator[Figure]:
    """Fifty new workloads of one container each, in one file, on three nodes: from the start of
    `piccolo apply` to its end, when it has seen all of them running. In turn with it fifty `podman
    run --detach`, one after the other, spread over the same nodes. All on the host's network.
    """
    with make_lab(NODES, containers=True) as lab:
        lab.start_master()
        join(lab)
        applied, bare = [], []
        for _ in range(max(1, plan.runs // 3)):
            names = [f"w{number}" for number in range(FLEET)]
            document = write_documents(lab, [workload(name, "host") for name in names])
            applied.append(milliseconds(partial(lab.piccolo, "apply", "-f", document)) / 1000)
            lab.piccolo("delete", "workload", *names)
            bare.append(milliseconds(partial(_run_bare, lab, names)) / 1000)
            for node in lab.podman.values():
                node.podman("rm", "--force", "--all", "--time", "0", timeout=PATIENCE)
    yield Figure(f"{FLEET} workloads on {NODES} nodes: apply → all running", "", "s", applied)
    yield Figure(f"— beside it, {FLEET} × podman run", "", "s", bare)
    shares = [a / b for a, b in zip(applied, bare, strict=True)]
    yield Figure("— as a multiple of that", "", "×", shares)


def recovery(plan: Plan) -> Iterator[Figure]:
    """One container of a workload is killed (SIGKILL): from then until a watching client sees the
    workload not running, and running again. The back-off before the first restart, 1 s with jitter
    by default, is part of it. The agent looks after 50 containers on the host's network; its memory
    (RSS) and its CPU, children included, are taken over the plan's steady time before.
    """
    with make_lab(1, containers=True) as lab:
        lab.start_master()
        join(lab)
        names = [f"w{number}" for number in range(FLEET)]
        lab.piccolo("apply", "-f", write_documents(lab, [workload(n, "host") for n in names]))
        time.sleep(plan.settle)
        agent = lab.agents["node1"]
        meter = CpuMeter(agent)
        time.sleep(plan.steady)
        cpu, memory = meter.percent(), rss_mb(agent)
        killed = []
        with lab.watch("get", "workloads", "-w", "-o", "json") as watch:
            watch.wait_synced()
            for name in random.sample(names, plan.runs):
                begun = time.monotonic()
                lab.podman["node1"].kill(f"{name}.0.{name}")
                gone = watch.wait_for(partial(_is, name, running=False), PATIENCE, begun).at
                back = watch.wait_for(partial(_is, name, running=True), PATIENCE, gone).at
                killed.append(back - begun)
    what, note = "container killed → restarted, seen by a client", "with the back-off of about 1 s"
    yield Figure(what, "", "s", killed, note=note)
    target = "≤ 50 MB"
    yield Figure(f"agent's memory (RSS), {FLEET} workloads", target, "MB", [memory], 50.0)
    yield Figure(f"agent's CPU, {FLEET} workloads at rest", "≤ 1 %", "%", [cpu], 1.0)


def workload(name: str, network: str) -> str:
    return f"""\
apiVersion: piccolo.io/v1
kind: Workload
metadata: {{name: {name}}}
spec:
  image: {HELLO}
  network: {{mode: {network}}}
  stop: {{grace: 1s}}
"""


def write_documents(lab: Lab, documents: Sequence[str]) -> str:
    path: Path = lab.master.dir / "workloads.yaml"
    path.write_text("---\n".join(documents))
    return str(path)


def milliseconds(action: Callable[[], object]) -> float:
    """How long that takes."""
    begun = time.monotonic()
    action()
    return (time.monotonic() - begun) * 1000


def _containers(lab: Lab) -> list[tuple[str, str]]:
    """Which there are, and since when they run."""
    return sorted((c["Id"], str(c["StartedAt"])) for c in lab.podman["node1"].containers())


def _run_bare(lab: Lab, names: Sequence[str]) -> None:
    nodes = list(lab.podman.values())
    for number, name in enumerate(names):
        nodes[number % len(nodes)].run(name)


def _is(name: str, change: Change, *, running: bool) -> bool:
    return change.name == name and (change.object["state"] == "Running") is running
