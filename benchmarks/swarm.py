"""Many simulated agents in one process: real sessions, pulses and reports, no machines behind them.

PICCOLO_TOKEN=piccolo1.… python -m benchmarks.swarm --master 127.0.0.1:50051 --data DIR --count 500

They join with a token of so many uses, each with a key of its own, and keep what they got in
`--data`: started again on it they only connect. Their keys are made before the clock starts, with
`prepared` on the output when it does: on real machines each makes its own, all at once.

One process is no thousand machines: at most 100 of them are on their way in at a time, or each
would be so slow that its master takes it for one that has nothing to say. All others wait.

With `--sources` each speaks from an address of its own of that network, as machines do: a master
lets only so many strangers of one address in at once. All its addresses must be this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import ipaddress
import os
import random
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from piccolo.agent.enrolment import Enrolment
from piccolo.agent.master_link import MasterLink, Membership
from piccolo.agent.pki import Pki
from piccolo.agent.pulser import Pulser
from piccolo.agent.reporter import Reporter
from piccolo.agent.session import Machine
from piccolo.agent.workloads.service import Workloads
from piccolo.core.address import Address, parse_address
from piccolo.core.model import Facts, NodeRole, NodeType, Resources, Usage
from piccolo.security.request import prepare

PREPARED = "prepared"
AT_ONCE = 100

Network = ipaddress.IPv4Network
_source: ContextVar[str] = ContextVar("source")  # from where the agent that runs speaks


class _Loop(uvloop.Loop):
    """Connections leave from the address of the agent that makes them."""

    def create_connection(self, *where: Any, **options: Any) -> Any:
        if source := _source.get(""):
            options["local_addr"] = (source, 0)
        return super().create_connection(*where, **options)


@dataclass(slots=True)
class MemoryIdentity:
    """An agent's identity that lives as long as the process."""

    node_id: str
    when_joined: Callable[[], object]
    cluster_id: str = ""

    def joined(self, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        self.when_joined()


def _usage() -> Usage:
    return Usage(
        cpu_percent=random.uniform(1, 30),
        memory_used_mb=300,
        memory_available_percent=60,
        disk_used_percent=40,
    )


def prepared(data: Path, count: int) -> list[Pki]:
    """The keys and requests of so many agents."""
    return [Pki(prepare(data / _name(number))) for number in range(count)]


def _name(number: int) -> str:
    return f"sim{number:04d}"


async def simulate(
    master: Address,
    data: Path,
    number: int,
    pki: Pki,
    token: str,
    sources: Network | None,
    door: asyncio.Semaphore,
) -> None:
    """One agent, for ever, as soon as it is let through the door."""
    name = _name(number)
    if sources is not None:
        _source.set(str(sources[number + 1]))
    node_id = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    await door.acquire()
    loop = asyncio.get_running_loop()
    reporter, pulser = Reporter(None), Pulser()
    workloads = Workloads(None, reporter, node_id, data / name)
    link = MasterLink(
        [master],
        Membership(name, NodeRole.SUB, NodeType.EMBEDDED, "wired", {}),
        MemoryIdentity(node_id, partial(loop.call_soon_threadsafe, door.release)),
        Machine(
            node_id=node_id,
            facts=Facts(os="simulated"),
            resources=Resources(4, 1024, 16),
            sample=_usage,
            metrics_interval=5.0,
        ),
        reporter,
        pulser,
        pki,
        Enrolment(pki, token, ""),
        workloads,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pulser.run())
        tasks.create_task(workloads.run())
        tasks.create_task(link.run())


async def swarm(
    master: Address,
    data: Path,
    pkis: list[Pki],
    token: str,
    seconds: float,
    sources: Network | None = None,
) -> None:
    """An agent for each of `pkis`, for `seconds` seconds."""
    door = asyncio.Semaphore(AT_ONCE)
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for number, pki in enumerate(pkis):
                tasks.create_task(simulate(master, data, number, pki, token, sources, door))
    except TimeoutError:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--master", default="127.0.0.1:50051")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sources", type=Network, metavar="NETWORK")
    args = parser.parse_args()
    args.data.mkdir(parents=True, exist_ok=True)
    pkis = prepared(args.data, args.count)
    print(PREPARED, flush=True)
    token = os.environ.get("PICCOLO_TOKEN", "")
    agents = swarm(
        parse_address(args.master, 50051), args.data, pkis, token, args.seconds, args.sources
    )
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(agents)


if __name__ == "__main__":
    main()
