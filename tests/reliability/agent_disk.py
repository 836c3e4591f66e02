"""Kill -9 of what writes an agent's files: each is wholly the old one or the new one."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from benchmarks.ground import ROOT
from piccolo.agent.identity import Identity
from piccolo.agent.workloads.desired import Desired
from piccolo.agent.workloads.journal import Journal
from piccolo.core.errors import PiccoloError
from tests.agent.workloads.specs import digest
from tests.reliability.agent_writer import HEARD, cluster, hear_all, specs
from tests.reliability.findings import Findings

EARLY = 0.1  # of all kills come while the process starts
STARTING, STATES, WITHIN = 0.3, 30, 0.01  # s, states that are waited for, s of the next one


def files_killed(kills: int, chance: random.Random) -> Findings:
    """At random moments, mostly while a state is taken over."""
    found = Findings("kill -9 of an agent that takes over changes, one after the other: its disk")
    found.count("kills", 0)
    with tempfile.TemporaryDirectory() as place:
        disk = Disk(Path(place) / "data")
        for number in range(kills):
            told = _killed(disk.directory, disk.told + 1, chance)
            found.count("kills")
            found.count("states acknowledged", told - disk.told)
            disk.told = told
            try:
                wrong = list(disk.wrong())
            except PiccoloError as error:
                wrong = [str(error)]
            found.lost += [f"after kill {number + 1}: {text}" for text in wrong]
            if wrong:
                break  # what follows would follow from this
    return found


def _killed(directory: Path, first: int, chance: random.Random) -> int:
    """The last state that was acknowledged; `first` is the next one."""
    argv = [sys.executable, "-m", "tests.reliability.agent_writer", str(directory), str(first)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = first - 1
        if chance.random() < EARLY:
            time.sleep(chance.random() * STARTING)
        else:
            for _ in range(chance.randrange(1, STATES)):
                told = int(writer.stdout.readline())
            time.sleep(chance.random() * WITHIN)
        writer.kill()
        return max([told, *(int(line) for line in writer.stdout if line.endswith("\n"))])


class Disk:
    """What there is after each kill, and what there was after those before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.told = 0  # the state that was acknowledged last; the next one may be there too
        self._node = ""
        self._begun_twice: set[int] = set()

    def wrong(self) -> Iterator[str]:
        """All that does not follow. Raises what the agent's own reading raises."""
        possible = (self.told, self.told + 1)
        self._begun_twice.add(self.told + 1)
        desired = Desired(self.directory / "workloads")
        if trouble := desired.load():
            yield trouble
        if desired.digest not in (digest(*specs(n)) if n else 0 for n in possible):
            yield f"what is to run is not as in state {self.told} or the next one"
        identity = Identity.open(self.directory)
        identity.close()
        if self._node not in ("", identity.node_id):
            yield f"the node {self._node} has become {identity.node_id}"
        self._node = identity.node_id
        if identity.cluster_id not in (cluster(n) if n else "" for n in possible):
            yield f"it is of {identity.cluster_id!r} after state {self.told}"
        yield from self._wrong_events()

    def _wrong_events(self) -> Iterator[str]:
        """In order, each once, none missing since a master heard of all."""
        journal = Journal(self.directory / "events.jsonl")
        journal.load()
        events = [int(message) for message in hear_all(journal)]
        if not events:
            if self.told % HEARD and (self.told + 1) % HEARD:
                yield f"no events are left after state {self.told}"
            return
        if missing := set(range(events[0], self.told + 1)) - set(events):
            yield f"the events of {sorted(missing)} are missing after state {self.told}"
        if events != sorted(events):
            yield f"events are in another order: {events}"
        twice = {one for one, other in pairwise(events) if one == other}
        if not twice <= self._begun_twice:
            yield f"events are there twice: {sorted(twice - self._begun_twice)}"
        if events[-1] > self.told + 1:
            yield f"there is an event of state {events[-1]} after state {self.told}"
