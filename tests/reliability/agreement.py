"""Section: clients that change the same thing at once agree on what happened, and in what order."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from benchmarks.ground import ROOT
from piccolo.rpc.errors import first_of
from tests.lab.cluster import ETCD_PORT, LoopbackLab
from tests.lab.process import Proc
from tests.reliability.findings import Findings
from tests.reliability.killing import Master, revoke_lease
from tests.reliability.linearizable import Operation, Outcome, Value, check
from tests.reliability.outcome import Effort, Row
from tests.reliability.registers import FIRST, Client, begin
from tests.reliability.store_clients import CLIENTS, KEYS, told

BETWEEN = 1.0, 2.5  # s from the start of a master to its end

EXPECTED = "there is an order in which they could have happened one after the other"
Engine = Literal["sqlite", "etcd"]
STORES: tuple[Engine, ...] = ("sqlite", "etcd")


def run(effort: Effort) -> Iterator[Row]:
    """Eight clients read and change one value at the same time, over the real API with real TLS: a
    change names the revision of the value that was read, and is refused when somebody else was
    faster (compare-and-set). Meanwhile the master is killed with `kill -9` and started again. Each
    client writes down when it asked, when the answer came, and what it was; what was not answered
    may take effect at any time later, or never. The history is linearizable when there is an order
    in which all of it could have happened, one operation after the other, each between its call and
    its answer: checked exactly, by the algorithm of Wing, Gong and Lowe
    (`tests/reliability/linearizable.py`). It is not when anybody reads an old value, when one of
    two changes is lost, or when a change that was acknowledged is gone after a kill.

    The same below the API: eight clients of the master's store, in a process that is killed, read,
    set and delete five keys.
    """
    for store in STORES:
        chance = random.Random(f"{effort.seed} {store}")
        operations, kills = effort.times(6000, 300), effort.times(20, 2)
        yield judged(*raced(operations, kills, chance, store), FIRST)
    for store in STORES:
        chance = random.Random(f"{effort.seed} {store}")
        yield judged(*raced_in_store(effort.times(20, 2), chance, store), None)


def raced(
    operations: int, kills: int, chance: random.Random, store: Engine
) -> tuple[Findings, list[Operation]]:
    """At least so many operations, and so many kills meanwhile."""
    found = Findings(f"{CLIENTS} clients at one value, on {store}")
    with LoopbackLab(0, store=store) as lab:
        lab.start_master()
        try:
            history = asyncio.run(_raced(Master(lab, chance, found), operations, kills, chance))
        except ExceptionGroup as group:
            raise first_of(group) from None
        found.look_for_tracebacks(lab)
    return found, history


async def _raced(
    master: Master, operations: int, kills: int, chance: random.Random
) -> list[Operation]:
    clients = [Client(f"client{n}", master, random.Random(chance.random())) for n in range(CLIENTS)]
    await begin(master)
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.run())
        while master.kills < kills or sum(len(c.history) for c in clients) < operations:
            await asyncio.sleep(chance.uniform(*BETWEEN))
            if master.kills < kills:
                await master.kill()
        for client in clients:
            client.stop.set()
    return [operation for client in clients for operation in client.history]


def raced_in_store(
    kills: int, chance: random.Random, store: Engine
) -> tuple[Findings, list[Operation]]:
    found = Findings(f"{CLIENTS} clients of the store itself, {KEYS} keys, on {store}")
    history: list[Operation] = []
    with LoopbackLab(0, store=store) as lab:
        target = str(lab.master.dir / "registers")
        if store == "etcd":
            lab.start_etcd()
            target = f"etcd://{lab.master.ip}:{ETCD_PORT}"
        for number in range(kills):
            argv = [sys.executable, "-m", "tests.reliability.store_clients", target, f"run{number}"]
            clients = Proc(lab.site, lab.master, "clients", argv, env={"PYTHONPATH": str(ROOT)})
            clients.wait_for_output("\n")
            time.sleep(chance.random())
            clients.kill()
            clients.wait()
            if store == "etcd":
                revoke_lease(lab)
            history += told(clients.output().splitlines(keepends=True))
            found.count("kills")
    return found, history


def judged(found: Findings, history: Sequence[Operation], initial: Value) -> Row:
    counts = Counter(operation.outcome for operation in history)
    found.count("reads", counts[Outcome.READ])
    found.count("changes", counts[Outcome.SWAPPED])
    found.count("refused", counts[Outcome.REFUSED])
    found.count("unanswered", counts[Outcome.UNKNOWN])
    effects = {o.value for o in history if o.outcome is Outcome.READ}
    unanswered = [o.value for o in history if o.outcome is Outcome.UNKNOWN]
    found.count("of them seen later", len(effects.intersection(unanswered) - {None}))
    begun = time.monotonic()
    if (violation := check(history, initial)) is not None:
        found.lost.append(f"not linearizable: {violation}")
    found.took("time to check", begun)
    return found.row(EXPECTED)
