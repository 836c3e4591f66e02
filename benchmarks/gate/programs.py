"""Counts of the real programs: a master, an agent and a client on the loopback interface, of which
nobody needs to be root.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.gate.counts import Count
from benchmarks.ground import rss_mb
from tests.lab.cluster import LoopbackLab

TELL_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}  # as -X importtime: a line for each, on stderr
_HEADING, _LINE = "import time: self [us]", "import time:"
CALM = 2.0  # s
READY_SECONDS = 30.0


def program_counts() -> list[Count]:
    with LoopbackLab(1) as lab:
        master = lab.start_master()
        with lab.watch_nodes() as watch:
            agent = lab.start_agent("node1", env=TELL_IMPORTS)
            watch.wait_status("node1", "Ready", READY_SECONDS, agent.started_at)
        time.sleep(CALM)
        command = [str(lab.program), "get", "nodes"]
        client = lab.site.run(command, env={**lab.client_env(), **TELL_IMPORTS})
        loaded = {
            "agent": _imported(agent.output().splitlines()),
            "piccolo get nodes": _imported(client.stderr.splitlines()),
        }
        memory = {"agent": rss_mb(agent), "master": rss_mb(master)}
    modules = [
        Count(f"{who}: modules imported", n, "", 0.01, of_python=True) for who, n in loaded.items()
    ]
    return modules + [
        Count(f"{who}, idle: memory (RSS)", mb, "MB", 0.08, of_python=True)
        for who, mb in memory.items()
    ]


def _imported(lines: Sequence[str]) -> int:
    """By the last interpreter that wrote to it: the agent becomes another by exec."""
    last = max(number for number, line in enumerate(lines) if line.startswith(_HEADING))
    return len({line.rpartition("|")[2] for line in lines[last + 1 :] if line.startswith(_LINE)})
