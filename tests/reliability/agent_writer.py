"""An agent's files, written until killed: `python -m tests.reliability.agent_writer DIRECTORY N`.

Goes through states N, N + 1, … one after the other: what is to run, the cluster it belongs to, and
what happened. Prints each number when all of it was taken over.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

from piccolo.agent.identity import Identity
from piccolo.agent.workloads.desired import Change, Desired, Spec
from piccolo.agent.workloads.journal import Journal
from piccolo.core.model import Severity
from tests.agent.workloads.specs import digest, instance, spec

LARGE = 50_000  # characters, so that a file is more than one block of the disk
HEARD = 100  # states, after which a master hears of all that happened, and it is forgotten


def specs(number: int) -> list[Spec]:
    """What is to run in that state: some of it changes each time, some now and then."""
    web = spec(instance("web", generation=number, env=str(number)))
    login = spec(instance("login", generation=number // 7 + 1), **{"login/password": "c2VjcmV0"})
    large = spec(instance("large", generation=number // 3 + 1, env="x" * LARGE))
    return [web, login, large]


def cluster(number: int) -> str:
    return f"cluster {number}"


def change(before: Desired, number: int) -> Change:
    """To that state: the difference, as a master sends it to whom it knows."""
    wanted = specs(number)
    held = {key: one.digest for key, one in before.held.items()}
    new = tuple(one for one in wanted if held.get(one.key) != digest(one))
    return Change(new, digest=digest(*wanted))


def hear_all(journal: Journal) -> list[str]:
    """As a master does: what happened, in order."""
    told = []
    journal.connected()
    while (batch := journal.next_batch()) is not None:
        told += [h.message for h in batch.happenings]
        journal.acknowledged(batch.stream, batch.happenings[-1].seq)
    return told


def states(directory: Path, number: int) -> Generator[int, None, None]:
    """Each that was taken over, from `number` on."""
    identity = Identity.open(directory)
    desired = Desired(directory / "workloads")
    journal = Journal(directory / "events.jsonl")
    try:
        desired.load()
        journal.load()
        while True:
            desired.take_over(change(desired, number))
            identity.joined(cluster(number))
            journal.note(Severity.INFO, "web.0", "Changed", str(number))
            journal.close()  # writes what is not written; there is no master
            if number % HEARD == 0:
                hear_all(journal)
                journal.close()
            yield number
            number += 1
    finally:
        identity.close()


if __name__ == "__main__":
    for done in states(Path(sys.argv[1]), int(sys.argv[2])):
        print(done, flush=True)
