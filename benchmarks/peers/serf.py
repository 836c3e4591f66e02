"""Serf: membership by gossip. An agent on each host, with its default profile (LAN)."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading

from benchmarks.peers.cluster import Sightings
from tests.lab.cluster import Lab
from tests.lab.net import Host
from tests.lab.process import Proc

PORT = 7947  # its own, 7946, is Docker Swarm's too
# As the agent logs what it has learned: "… [INFO] serf: EventMemberFailed: node1 198.18.0.2"
_EVENT = re.compile(rb"serf: EventMember(Failed|Join): (\S+)")


def missing() -> str:
    """Why there is no Serf here; empty: there is one."""
    return (
        "" if shutil.which("serf") else "serf is not installed (./dev bench --peers does, as root)"
    )


class Serf:
    """Guarantees when made that the agent on the master's host knows all the others."""

    name = "Serf"

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._sightings = Sightings(self.name)
        self.agents: dict[str, Proc] = {}
        observer = self._start(lab.master, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, args=[observer], name="serf", daemon=True).start()
        for node in lab.nodes:
            self.start(node)
        for node in lab.nodes:
            self.wait(node, True, observer.started_at)

    def kill(self, node: str) -> None:
        self.agents[node].kill()

    def start(self, node: str) -> None:
        join = ["-retry-join", self._address(self._lab.master), "-retry-interval", "1s"]
        self._start(self._lab.nodes[node], *join)

    def reconnect(self, node: str) -> None:
        """By itself it tries every 30 s."""
        host = self._lab.nodes[node]
        self._lab.site.run([*host.prefix(), "serf", "join", self._address(self._lab.master)])

    def wait(self, node: str, alive: bool, since: float) -> float:
        return self._sightings.wait(node, alive, since)

    def lost(self, since: float) -> int:
        return self._sightings.lost(since)

    def _start(self, host: Host, *extra: str, stdout: int | None = None) -> Proc:
        argv = ["serf", "agent", "-node", host.name, "-bind", self._address(host)]
        argv += ["-log-level", "info", *extra]
        self.agents[host.name] = Proc(self._lab.site, host, "serf", argv, stdout=stdout)
        return self.agents[host.name]

    @staticmethod
    def _address(host: Host) -> str:
        return f"{host.ip}:{PORT}"

    def _read(self, agent: Proc) -> None:
        """Until the agent ends."""
        stdout = agent.popen.stdout
        assert stdout is not None
        with stdout:
            for line in stdout:
                if found := _EVENT.search(line):
                    self._sightings.add(found[2].decode(), found[1] == b"Join")
