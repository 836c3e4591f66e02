"""Far more agents than a cluster will have: how all grows, and where the master's limits are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.crowd import Measured, measure
from benchmarks.figures import Figure, Plan
from benchmarks.growth import Power, fit, rounded
from piccolo.rpc.gate import Limits

SIZES = (10, 100, 500, 1000)
JUDGED = 500  # agents, for which there are targets
OTHERS = 3  # runs at most for the other sizes
IDLE = 60.0  # s
TRIALS = 10
MEMORY_MB = 512.0  # of a small machine
CLIENTS = 32  # connections that stay for clients
FULL = 100.0  # percent of the one core that the master's loop can use
BOUND = 5.0  # s until a silent agent is NotReady
TARGET = "worst ≤ 5 s, aim 3 s"


def scale(plan: Plan) -> Iterator[Figure]:
    """10, 100, 500 and 1,000 simulated agents in one process of their own (`python -m
    benchmarks.swarm`): real certificates, sessions, pulses and reports, an address each, no
    machines behind them. That process shares this machine with the master and the client that
    watches. All join with one token, 100 at a time, as one process is no faster; the time counts
    from when their keys are made, which real machines do each for itself, until the client has
    printed that all are Ready; each run with a new master (10 runs with 500 agents, 3 with the
    other numbers). Then the process is ended and started again: now all have certificates, and only
    connect. In the last run the master is watched for 60 s while all agents are idle. Then five
    real agents come, whose cables are cut, each at a random moment, until a client that watches has
    printed NotReady. Ten clients, which came one after the other, follow all nodes, each over a
    connection of its own; a label of a node is changed, and the time counts until the last of them
    has read it. The ten share one Python process, which takes a part of that time. `piccolo get
    nodes` prints all nodes on a
    terminal.

    The exponent of growth is that of the power law with the least squares of the logarithms over
    all sizes; memory is what is above that of a master without agents. From these laws follows
    where the next limit is: one core, as the master's loop has no more; the connections that it
    takes (see [security.md](security.md)); 512 MB of memory.
    """
    found = []
    for size in SIZES:
        runs = plan.runs if size == JUDGED else min(plan.runs, OTHERS)
        seen = measure(size, runs=runs, settle=plan.settle, idle=IDLE, trials=TRIALS)
        yield from figures(seen)
        found.append(seen)
    for law in laws(found):
        values = [law.power.exponent]
        yield Figure(
            f"growth with the number n of agents: {law.what}", "", "", values, note=law.says
        )
    for limit in limits(found):
        note = limit.why
        yield Figure(f"limit: {limit.what}", "", "agents", [float(round(limit.size))], note=note)


def figures(seen: Measured) -> Iterator[Figure]:
    """The lines of one size; the targets are for 500."""
    what = f"{seen.size:,} simulated agents"
    judged = seen.size == JUDGED
    target, limit = ("≤ 15 s", 15.0) if judged else ("", None)
    yield Figure(f"{what}: join → all Ready", target, "s", seen.joined, limit)
    yield Figure(f"{what}: start again → all Ready", target, "s", seen.returned, limit)
    target, limit = ("≤ 30 % of a core", 30.0) if judged else ("", None)
    note = f"{seen.false_alarms} were not Ready" if seen.false_alarms else ""
    yield Figure(f"{what}: master's CPU, idle", target, "%", [seen.cpu], limit, note=note)
    yield Figure(f"{what}: master's memory (RSS)", "", "MB", [seen.memory])
    if seen.network is not None:
        yield Figure(f"{what}: on the wire, per agent", "", "B/s", [seen.network])
    yield Figure(
        f"{what}: one more is cut off → NotReady", TARGET, "s", seen.detected, BOUND, "worst"
    )
    changed = [took * 1000 for took in seen.fanned_out]
    yield Figure(f"{what}: a change → read by 10 watching clients", "", "ms", changed)
    yield Figure(f"{what}: piccolo get nodes", "", "s", seen.listed)


@dataclass(frozen=True, slots=True)
class Law:
    """How one figure grows."""

    what: str
    power: Power
    says: str


@dataclass(frozen=True, slots=True)
class Limit:
    """What ends at which number of agents, and why there."""

    what: str
    size: float
    why: str


def laws(found: Sequence[Measured]) -> list[Law]:
    """How the figures of these sizes grow; those that were not measured are left out."""
    made = []
    for what, values in {
        "memory": [seen.memory - seen.alone for seen in found],
        "CPU": [seen.cpu for seen in found],
        "join": [_middle(seen.joined) for seen in found],
        "start again": [_middle(seen.returned) for seen in found],
        "detection": [_middle(seen.detected) for seen in found],
        "watch fan-out": [_middle(seen.fanned_out) for seen in found],
        "get nodes": [_middle(seen.listed) for seen in found],
    }.items():
        points = [(float(s.size), v) for s, v in zip(found, values, strict=True)]
        if len([value for _, value in points if value > 0]) >= 2:
            power = fit(points)
            made.append(Law(what, power, f"{what} {power}"))
    return made


def limits(found: Sequence[Measured]) -> list[Limit]:
    """What breaks at which number of agents, the first one first."""
    law = {law.what: law.power for law in laws(found)}
    gate = Limits()
    made = [
        Limit(
            "connections",
            gate.known - CLIENTS,
            f"the master takes {gate.known:,} connections with certificates, {CLIENTS} of them for"
            f" clients, for which it needs {gate.descriptors:,} file descriptors",
        )
    ]
    if "CPU" in law:
        made.append(
            Limit("CPU", law["CPU"].reaches(FULL), "one core is full with idle agents alone")
        )
    if "memory" in law:
        room = MEMORY_MB - found[-1].alone
        made.append(
            Limit("memory", law["memory"].reaches(room), f"the master has {MEMORY_MB:.0f} MB")
        )
    if "detection" in law:
        made.append(
            Limit("detection", law["detection"].reaches(BOUND), "a silent agent is seen after 5 s")
        )
    return sorted((one for one in made if one.size < float("inf")), key=lambda one: one.size)


def paragraph(found: Sequence[Measured]) -> str:
    """What breaks first beyond the largest size, for people."""
    first, *others = limits(found)
    text = f"first {first.what}, at about {rounded(first.size)} agents: {first.why}"
    for other in others:
        text += f"; then {other.what}, at about {rounded(other.size)}: {other.why}"
    return text


def _middle(values: Sequence[float]) -> float:
    return median(values) if values else 0.0
