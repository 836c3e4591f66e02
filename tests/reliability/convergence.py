"""Section: whatever happens, the cluster comes to be as it was asked to be."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.ground import ROOT
from tests.reliability.outcome import Effort, Row
from tests.simulation.outcome import BOUND

_EXPECTED = f"each as asked within {BOUND:.0f} s of virtual time, and quiet from then on"
_WHOLE = {"": 0.5, "12": 0.15, "25": 0.15, "50": 0.2}  # nodes, and their part of the time


def run(effort: Effort) -> Iterator[Row]:
    """A simulation in virtual time, in which a seed decides everything. People apply, change,
    scale, restart, roll back and delete workloads that depend on each other. Meanwhile connections
    break or are cut in one direction or both, datagrams get lost, come twice and overtake each
    other, clocks are wrong and stepped, disks are full or damaged, Podman refuses or does not
    answer, containers end or are removed by hand, and agents, nodes and the master are killed
    between any two actions. At every step rules are checked: no copy runs twice on a node, none is
    started elsewhere while a ready node still has it, what must not run again does not, nothing
    starts before what it depends on, no outdated version is started, a rolling update takes down no
    more copies than it may, every change of a node's state is legal, who is cut off is not Ready,
    and who is well is not judged lost. Then the faults stop. The cluster must be as asked, from
    what was promised down to the containers; planned again, nothing is to do; and for the next 30 s
    nothing is sent or done.

    The pure core is simulated alone, and, more slowly, master and agent as they are shipped. Every
    failure can be seen again by its seed: `./dev simulate --seed N`.
    """
    chance = random.Random(f"{effort.seed} convergence")
    yield _row("the pure core, 1 to 50 nodes", [], effort.seconds(300, 10), chance)
    seconds = effort.seconds(300, 20)
    for nodes, part in _WHOLE.items():
        size = ["--nodes", nodes] if nodes else []
        what = f"real masters and agents, {nodes or '1 to 5'} nodes"
        yield _row(what, ["--whole", *size], seconds * part, chance)


def _row(what: str, how: list[str], seconds: float, chance: random.Random) -> Row:
    found = _survey(
        [*how, "--seed", str(chance.randrange(1 << 31)), "--minutes", f"{seconds / 60}"]
    )
    failed = found["failed"]
    seen = (
        f"{found['schedules']} schedules with {found['steps']} operations and faults"
        f" ({found['schedules'] / max(found['computed'], 0.01) * 60:.0f} per minute of one core),"
        f" {len(failed)} failed; as asked after {found['longest']:.0f} s at most"
    )
    if failed:
        seen += f"; {'; '.join(failed[:3])}"
    return Row(what, _EXPECTED, seen, bool(failed))


def _survey(arguments: list[str]) -> Mapping[str, Any]:
    """In a process of its own: a schedule can only be seen again where sets have the same order.

    Raises `OSError` when it ends otherwise than by saying what it found.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--json", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    except (IndexError, ValueError):
        said = (done.stderr or done.stdout).strip().splitlines()
        raise OSError(f"the simulation failed: {said[-1] if said else 'it said nothing'}") from None
