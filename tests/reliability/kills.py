"""Section: what was acknowledged survives `kill -9`, and nothing is there by half."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.e2e.storm import WORKLOADS, agent_killed, fleet, master_killed
from tests.reliability.agent_disk import files_killed
from tests.reliability.outcome import Effort, Row
from tests.reliability.stream import killed_under_writes

STREAM = "every acknowledged write is there, no other is there by half, no revision goes back"
AT_ONCE = "each of these changes is wholly there or not at all; there, if acknowledged"
AGENT = "each container that is wanted, once, of one version; nothing else touched or left behind"
FILES = "each file is wholly the old one or the new one; the new one, if acknowledged"
FLEET = "all run; the same document touches nothing; none is left after deleting"


def run(effort: Effort) -> Iterator[Row]:
    """Programs are killed with `kill -9` at random moments, one in ten times while they start, and
    started again at once.

    Under a **stream of writes** six clients write without a pause, over the real API with real TLS:
    labels of one node (two of the clients), the cluster's configuration, a secret, five workloads
    in one call, and 140 in one call, which is more than one transaction of the store takes. Each
    has keys of its own, changes several of them in every write, and knows which writes were
    acknowledged. After each kill, and now and then between, it reads what is there. Another client
    follows the node by a watch, from master to master, and must not miss a change. On etcd the
    lease of the killed master is taken away at once, as by an administrator who knows that it is
    dead: the next one need not wait up to 10 s for its end. In the rows with many workloads at once
    it waits.

    An **agent** is killed while it replaces the containers of two workloads on a real Podman;
    beside it a process is killed that takes over one change of an agent's files after the other:
    what is to run, its identity, and its journal of events.
    """
    chance = random.Random(effort.seed)
    yield killed_under_writes(effort.times(200, 3), chance, "sqlite").row(STREAM)
    yield killed_under_writes(effort.times(200, 3), chance, "etcd").row(STREAM)
    size = effort.times(WORKLOADS, 150)
    yield master_killed(effort.times(20, 1), chance, "sqlite", size).row(AT_ONCE)
    yield master_killed(effort.times(10, 1), chance, "etcd", size).row(AT_ONCE)
    yield agent_killed(effort.times(200, 3), chance).row(AGENT)
    yield files_killed(effort.times(200, 10), chance).row(FILES)
    yield fleet(effort.times(WORKLOADS, 10)).row(FLEET)
