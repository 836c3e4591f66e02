"""Many simulated agents in one process: real sessions, pulses and reports, no machines behind them.

python -m benchmarks.swarm --master 127.0.0.1:50051 --count 500 --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
from dataclasses import dataclass

from piccolo.agent.master_link import MasterLink, Membership
from piccolo.agent.pulser import Pulser
from piccolo.agent.reporter import Reporter
from piccolo.agent.session import Machine
from piccolo.core.address import Address, parse_address
from piccolo.core.model import Facts, NodeRole, NodeType, Resources, Usage


@dataclass(slots=True)
class MemoryIdentity:
    """An agent's identity that lives as long as the process."""

    node_id: str
    cluster_id: str = ""

    def joined(self, cluster_id: str) -> None:
        self.cluster_id = cluster_id


def _usage() -> Usage:
    return Usage(
        cpu_percent=random.uniform(1, 30),
        memory_used_mb=300,
        memory_available_percent=60,
        disk_used_percent=40,
    )


async def simulate(master: Address, number: int) -> None:
    """One agent, for ever."""
    name = f"sim{number:04d}"
    reporter, pulser = Reporter(None), Pulser()
    link = MasterLink(
        [master],
        Membership(name, NodeRole.SUB, NodeType.EMBEDDED, "wired", {}),
        MemoryIdentity(hashlib.blake2b(name.encode(), digest_size=16).hexdigest()),
        Machine(
            node_id=hashlib.blake2b(name.encode(), digest_size=16).hexdigest(),
            facts=Facts(os="simulated"),
            resources=Resources(4, 1024, 16),
            sample=_usage,
            metrics_interval=5.0,
        ),
        reporter,
        pulser,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pulser.run())
        tasks.create_task(link.run())


async def swarm(master: Address, count: int, seconds: float) -> None:
    """`count` agents for `seconds` seconds."""
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(simulate(master, number))
    except TimeoutError:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--master", default="127.0.0.1:50051")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    import uvloop

    uvloop.run(swarm(parse_address(args.master, 50051), args.count, args.seconds))


if __name__ == "__main__":
    main()
