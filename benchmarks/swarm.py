"""Many simulated agents in one process: real sessions, pulses and reports, no machines behind them.

PICCOLO_TOKEN=piccolo1.… python -m benchmarks.swarm --master 127.0.0.1:50051 --data DIR --count 500

They join with a token of so many uses, each with a key of its own, and keep what they got in
`--data`: started again on it they only connect. Their keys are made before the clock starts, with
`prepared` on the output when it does: on real machines each makes its own, all at once.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

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


def prepared(data: Path, count: int) -> list[Pki]:
    """The keys and requests of so many agents."""
    return [Pki(prepare(data / _name(number))) for number in range(count)]


def _name(number: int) -> str:
    return f"sim{number:04d}"


async def simulate(master: Address, data: Path, number: int, pki: Pki, token: str) -> None:
    """One agent, for ever."""
    name = _name(number)
    node_id = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    reporter, pulser = Reporter(None), Pulser()
    workloads = Workloads(None, reporter, node_id, data / name)
    link = MasterLink(
        [master],
        Membership(name, NodeRole.SUB, NodeType.EMBEDDED, "wired", {}),
        MemoryIdentity(node_id),
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


async def swarm(master: Address, data: Path, pkis: list[Pki], token: str, seconds: float) -> None:
    """An agent for each of `pkis`, for `seconds` seconds."""
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for number, pki in enumerate(pkis):
                tasks.create_task(simulate(master, data, number, pki, token))
    except TimeoutError:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--master", default="127.0.0.1:50051")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    import uvloop

    args.data.mkdir(parents=True, exist_ok=True)
    pkis = prepared(args.data, args.count)
    print(PREPARED, flush=True)
    token = os.environ.get("PICCOLO_TOKEN", "")
    uvloop.run(swarm(parse_address(args.master, 50051), args.data, pkis, token, args.seconds))


if __name__ == "__main__":
    main()
