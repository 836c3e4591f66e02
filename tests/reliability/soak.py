"""Section: random faults for twenty minutes, and what is left of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from piccolo.store.mirror.memory import LOG_CHANGES
from tests.e2e.asking import nodes
from tests.e2e.workloads import Cluster, until
from tests.lab.cluster import Lab
from tests.lab.errors import LabError
from tests.lab.process import Proc
from tests.reliability.findings import Findings
from tests.reliability.mishaps import FILLED, WRITES, Mishap, mishaps
from tests.reliability.outcome import Effort, Row
from tests.reliability.trend import settled, slope_per_hour
from tests.reliability.vitals import Life, Vitals
from tests.reliability.wishes import CONTAINERS, Asker, Wish, wishes

NODES = 5
MORTAL = ("node4", "node5")  # whose agents are ended: the others, and the master, live throughout
DISK_MB = 128
READY = 60.0  # s from the end of the last fault until all nodes are Ready
AS_ASKED = 120.0  # s after that, until each workload is: back-offs of restarts are over
# KB/h. Twice what a reading is off in 15 minutes, and small enough that a year's growth is seen in
# a day: an agent has 50 MB in all. The master keeps events, and connections of nodes that are cut
# off until it gives them up, at a quarter of a MB each.
MOST_AGENT, MOST_MASTER = 3 << 10, 10 << 10
MOST_DESCRIPTORS = 40.0  # an hour: ten in the quarter of an hour that is looked at
MOST_THREADS = 8.0
RESTARTED = "agents started again by their supervisor"


def run(effort: Effort) -> Iterator[Row]:
    """A master and five nodes, each with a Podman and a disk of its own, for twenty minutes. Every
    few seconds a workload is changed, restarted, rolled back or deleted, and something breaks, for
    up to half a minute: a cable (cut, cut one way, losing packets, connections reset), a program
    (frozen; ended, which the agents of two nodes are), Podman, a disk (full, slow). At most two
    things are broken at once. What happens when is settled by the seed before it begins.

    The master begins with a history of 10,000 changes, which is what it keeps of them. Memory, file
    descriptors and threads of all programs are read every 5 s. The slope is the median of the
    slopes between any two readings (Theil and Sen), after the first quarter of the time; it is
    given for programs that lived throughout. In the end all is healed, all workloads are asked
    for once more, and every container on every node is looked at.
    """
    seconds = effort.seconds(1200, 25)
    chance = random.Random(effort.seed)
    names = [f"node{number}" for number in range(1, NODES + 1)]
    troubles = mishaps(chance, seconds, names, MORTAL, (2.0, effort.seconds(30, 6)))
    asked = list(wishes(chance, seconds, (2.0, effort.seconds(8, 4))))
    with Lab(NODES, disk_mb=DISK_MB) as lab:
        lab.start_master()
        lab.start_agents()
        cluster, asker = Cluster(lab), Asker(lab)
        asker.age(effort.times(LOG_CHANGES, 100))
        asker.ask_for_all("0")
        cluster.wait_settled(*CONTAINERS, within=AS_ASKED)
        with Vitals(lambda: _programs(lab), effort.seconds(5, 1)) as vitals:
            begun = time.monotonic()
            done = _live_through(lab, asker, troubles, asked)
            lasted = time.monotonic() - begun
        restarted = done.pop(RESTARTED, 0)
        yield _told("faults", done, lasted, len(troubles))
        if restarted:
            yield Row(RESTARTED, "ends in order on a full disk", f"{restarted} times")
        yield _told("workloads changed meanwhile", asker.counts, lasted, len(asked))
        yield from _in_the_end(lab, cluster, asker)
        for name in ("master", *names):
            life = vitals.longest(name)
            if life.seconds >= lasted * 0.9:
                yield from _flat(life, MOST_MASTER if name == "master" else MOST_AGENT, effort)
            elif name not in MORTAL:
                short = f"its longest life was {life.seconds:.0f} s of {lasted:.0f}"
                yield Row(f"{name}'s program", "lives throughout", short, True)


def _programs(lab: Lab) -> Mapping[str, Proc]:
    found = dict(lab.agents)
    if lab.master_proc is not None:
        found["master"] = lab.master_proc
    return found


# ---- what happens ----


@dataclass(frozen=True, slots=True)
class _Moment:
    at: float
    act: Callable[[], object]


def _live_through(
    lab: Lab, asker: Asker, troubles: Sequence[Mishap], asked: Sequence[Wish]
) -> Counter[str]:
    """All of it, each at its time, or as soon after it as what came before it is over."""
    done: Counter[str] = Counter()

    def begin(trouble: Mishap) -> None:
        befall(lab, trouble)
        done[trouble.kind] += 1

    moments = [_Moment(one.at, partial(asker.ask, one)) for one in asked]
    for one in troubles:
        moments.append(_Moment(one.begin, partial(begin, one)))
        if one.end > one.begin:
            moments.append(_Moment(one.end, partial(lab.faults.heal, one.host, one.part)))
    begun = time.monotonic()
    for moment in sorted(moments, key=lambda moment: moment.at):
        time.sleep(max(0.0, begun + moment.at - time.monotonic()))
        moment.act()
        if ended := _supervise(lab):
            done[RESTARTED] += ended
    return done


def befall(lab: Lab, trouble: Mishap) -> None:
    faults, host = lab.faults, trouble.host
    match trouble.kind:
        case "cut":
            faults.cut(host)
        case "cut in":
            faults.cut(host, "in")
        case "cut out":
            faults.cut(host, "out")
        case "loss":
            faults.loss(host, trouble.percent)
        case "reset":
            faults.reset(host)
        case "freeze":
            faults.freeze(host)
        case "kill":
            faults.kill(host)
        case "restart":
            faults.restart(host)
        case "freeze podman":
            faults.freeze(host, "podman")
        case "kill podman":
            faults.kill(host, "podman")
        case "restart podman":
            faults.restart(host, "podman")
        case "fill":
            faults.fill(host, FILLED)
        case "slow":
            faults.slow(host, WRITES)
        case _:
            raise LabError(f"no fault is called {trouble.kind}")


def _supervise(lab: Lab) -> int:
    """Start agents again that ended by themselves, as the service manager of a machine does: one
    that is started on a full disk ends. Returns how many."""
    broken = {(fault.host, fault.part) for fault in lab.faults.active}
    ended = [
        name for name in MORTAL if not lab.agents[name].alive and (name, "agent") not in broken
    ]
    for name in ended:
        lab.start_again(name)
    return len(ended)


# ---- what is left ----


def _told(what: str, counts: Counter[str], seconds: float, planned: int) -> Row:
    """Broken when not all that was planned was done."""
    each = ", ".join(f"{kind}: {number}" for kind, number in sorted(counts.items()))
    total = sum(counts.values())
    expected = f"all {planned} of this seed"
    return Row(what, expected, f"{total} in {seconds:.0f} s ({each})", total != planned)


def _in_the_end(lab: Lab, cluster: Cluster, asker: Asker) -> Iterator[Row]:
    found = Findings("all is healed")
    begun = time.monotonic()
    lab.faults.heal()

    def ready() -> bool:
        with suppress(OSError):
            return all(node["status"] == "Ready" for node in nodes(lab).values())
        return False

    try:
        until(ready, READY, lambda: f"{[(n['name'], n['status']) for n in nodes(lab).values()]}")
        found.took("all nodes Ready again", begun)
        begun = time.monotonic()
        asker.ask_for_all("last")
        cluster.wait_settled(*CONTAINERS, within=AS_ASKED)
        until(lambda: not _wrong(lab, cluster), AS_ASKED, lambda: "; ".join(_wrong(lab, cluster)))
        found.took("all workloads as asked", begun)
    except AssertionError as error:
        found.lost.append(str(error))
    found.look_for_tracebacks(lab)
    yield found.row(
        f"all nodes Ready in {READY:.0f} s, all workloads as asked in {AS_ASKED:.0f} s; each"
        " container once, of one version, no other left; no traceback in a log"
    )


def _wrong(lab: Lab, cluster: Cluster) -> list[str]:
    """Containers that are too many, too few, of another version, or do not run."""
    copies = [copy for name in lab.nodes for copy in cluster.copies(name).values()]
    there = Counter((copy.workload, copy.container) for copy in copies)
    wanted = {(name, c): n for name, wants in CONTAINERS.items() for c, n in wants.items()}
    wrong = [
        f"{there[key]} containers {'/'.join(key)}, not {wanted.get(key, 0)}"
        for key in sorted({*there, *wanted})
        if there[key] != wanted.get(key, 0)
    ]
    instances = Counter((copy.instance, copy.container) for copy in copies)
    wrong += [f"{instance} is there {n} times" for (instance, _), n in instances.items() if n > 1]
    wrong += [f"{copy.name} is {copy.state}" for copy in copies if copy.state != "running"]
    for name in CONTAINERS:
        if len({copy.hash for copy in copies if copy.workload == name}) > 1:
            wrong.append(f"{name} is there in several versions")
    return wrong


def _flat(life: Life, most: float, effort: Effort) -> Iterator[Row]:
    """A quick run is shorter than what caches take to fill: it is never broken."""
    memory, files, threads = (
        settled(points) for points in (life.memory, life.descriptors, life.threads)
    )
    slope = slope_per_hour(memory)
    seen = (
        f"{life.memory[0][1] / 1024:.1f} MB at the beginning, {memory[0][1] / 1024:.1f} after the"
        f" warm-up, {memory[-1][1] / 1024:.1f} at the end: {slope:+,.0f} KB/h"
    )
    who = "the master" if life.name == "master" else f"the agent of {life.name}"
    broken = slope > most and not effort.quick
    yield Row(f"memory of {who}", f"grows by less than {most / 1024:g} MB/h", seen, broken)
    more_files, more_threads = slope_per_hour(files), slope_per_hour(threads)
    seen = (
        f"{files[0][1]:.0f} → {files[-1][1]:.0f} file descriptors ({more_files:+.0f}/h),"
        f" {threads[0][1]:.0f} → {threads[-1][1]:.0f} threads ({more_threads:+.0f}/h)"
    )
    broken = more_files > MOST_DESCRIPTORS or more_threads > MOST_THREADS
    yield Row(f"descriptors and threads of {who}", "do not grow", seen, broken and not effort.quick)
