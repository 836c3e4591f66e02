"""What a soak asks for: workloads that are changed, restarted, rolled back and deleted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from grpclib import GRPCError
from grpclib.exceptions import StreamTerminatedError

from piccolo.core.errors import PiccoloError
from piccolo.rpc import wire
from tests.e2e.asking import Stub, ask
from tests.e2e.workloads import Document, shell, text_of, workload
from tests.lab.cluster import Lab
from tests.lab.podman import HELLO

VERBS = ("apply", "apply", "apply", "restart", "roll back", "delete")
ANSWER = 5.0  # s
AGING = 300.0  # s
REPLICAS = 3
GREET = shell('trap "exit 0" TERM; while :; do echo hello; sleep 5 & wait $!; done')

# Workload → how many copies there are of each of its containers.
CONTAINERS: Mapping[str, Mapping[str, int]] = {
    "pinned": {"pinned": 1},
    "anywhere": {"anywhere": 1},
    "spread": {"spread": REPLICAS},
    "pair": {"left": 1, "right": 1},
}


def document(name: str, version: str) -> Document:
    env = {"VERSION": version}
    match name:
        case "pinned":
            return workload(name, "node1", env=env)
        case "spread":
            return workload(name, env=env, replicas=REPLICAS)
        case "pair":
            container = {"image": HELLO, "env": env, "command": GREET}
            return workload(
                name, containers=[{"name": side, **container} for side in ("left", "right")]
            )
    return workload(name, env=env)


@dataclass(frozen=True, slots=True)
class Wish:
    """`verb` of one workload, so many seconds after the start of the soak."""

    at: float
    verb: str
    name: str
    version: str


def wishes(chance: random.Random, seconds: float, every: tuple[float, float]) -> Iterator[Wish]:
    """All of a soak; `every`: seconds between two, the least and the most."""
    at, number = 0.0, 0
    while (at := at + chance.uniform(*every)) < seconds:
        number += 1
        yield Wish(at, chance.choice(VERBS), chance.choice(list(CONTAINERS)), str(number))


class Asker:
    """Asks the master, and counts what it says."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.counts: Counter[str] = Counter()

    def ask(self, wish: Wish) -> None:
        """Once. A master that is frozen, cut off or without disk does not answer, or refuses."""

        async def asked(stub: Stub) -> bool:
            match wish.verb:
                case "apply":
                    text = text_of([document(wish.name, wish.version)]).encode()
                    source = wire.Source(name="soak.yaml", text=text)
                    reply = await stub.apply(wire.ApplyRequest(sources=[source]))
                    return not reply.problems
                case "restart":
                    await stub.restart_workloads(wire.RestartWorkloadsRequest(names=[wish.name]))
                case "roll back":
                    await stub.roll_back_workload(wire.RollBackWorkloadRequest(name=wish.name))
                case "delete":
                    await stub.delete_workloads(wire.DeleteWorkloadsRequest(names=[wish.name]))
            return True

        try:
            done = ask(self._lab, asked, ANSWER)
        except (PiccoloError, GRPCError, StreamTerminatedError, OSError):
            done = False  # TimeoutError is an OSError
        self.counts[wish.verb if done else "refused or not answered"] += 1

    def ask_for_all(self, version: str) -> None:
        """All workloads in this version. Raises what the call raises."""
        text = text_of([document(name, version) for name in CONTAINERS]).encode()
        request = wire.ApplyRequest(sources=[wire.Source(name="soak.yaml", text=text)])
        reply = ask(self._lab, lambda stub: stub.apply(request), 4 * ANSWER)
        if reply.problems:
            raise AssertionError(f"refused: {reply.problems}")

    def age(self, changes: int) -> None:
        """Give the master a history: what it keeps of it for those who watch is full after 10,000
        changes, and grows until then."""

        async def label(stub: Stub) -> None:
            for number in range(changes):
                request = wire.LabelNodeRequest(
                    node="node1", set={"age": str(number)}, overwrite=True
                )
                await stub.label_node(request)

        ask(self._lab, label, AGING)
