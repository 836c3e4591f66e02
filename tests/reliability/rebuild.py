"""Section: a master that is lost is made anew from a backup that is older than what was done."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator

from tests.e2e.lost_master import LostMaster
from tests.lab.cluster import Lab
from tests.reliability.outcome import Effort, Row


def run(effort: Effort) -> Iterator[Row]:
    """A cluster of two nodes with workloads on real Podman is backed up. After that workloads are
    added, changed and deleted, a secret is set, and a third node joins, in an order that is drawn.
    Then the master is killed, its disk is thrown away, and another one starts from the backup, with
    none of this in it.

    Generations, containers (by their id and the process in them), nodes and certificates are
    compared with those of before. What was deleted since the backup comes back, as nobody knows of
    that any more; it must be told. In the end the new master is killed and started once more, and
    that must change nothing.
    """
    histories = effort.times(6, 1)
    chance = random.Random(effort.seed)
    wrong: list[str] = []
    done: list[LostMaster] = []
    containers = 0
    for number in range(histories):
        with Lab(3) as lab:
            lost = LostMaster(lab, chance)
            lost.begin(workloads=8)
            lost.live(changes=effort.times(6, 2))
            before = lost.lose()
            lost.restart(before)
            containers += len(before.copies)
        wrong += [f"history {number + 1}: {one}" for one in lost.wrong]
        done.append(lost)
    changes = sum(len(lost.history) for lost in done)
    seconds = [lost.took for lost in done]
    seen = f"{histories} histories, {changes} changes since the backup, {containers} containers"
    if wrong:
        seen = f"{len(wrong)} times wrong, such as: {'; '.join(wrong[:3])}; {seen}"
    yield Row(
        "the master is lost and restored from an older backup",
        "every newer generation is taken over, no container is stopped or started by mistake",
        seen,
        bool(wrong),
    )
    yield Row(
        "from the start of the new master until it has heard from every node",
        "at most 75 s",
        f"median {statistics.median(seconds):.1f} s, at most {max(seconds):.1f} s",
        max(seconds) > 75,
    )
