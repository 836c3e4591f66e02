"""Docker Swarm: a manager on the master's host, a worker on each node, all by default settings."""

from __future__ import annotations

import contextlib
import threading
import time
from urllib.parse import urlencode

from benchmarks.ground import PATIENCE
from benchmarks.peers.cluster import Sightings
from benchmarks.peers.docker import IMAGE, Docker, mark
from tests.lab.cluster import Lab
from tests.lab.errors import LabError

PORT = 2377
LOOK_EVERY = 0.02  # s
STATES = {"ready": True, "down": False}


class Swarm:
    """Guarantees when made that the manager calls all workers ready. `close` ends its thread."""

    name = "Docker Swarm"

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._sightings = Sightings(self.name)
        self.manager = Docker(lab.site, lab.master)
        self.workers = {name: Docker(lab.site, host) for name, host in lab.nodes.items()}
        listen = {"ListenAddr": f"0.0.0.0:{PORT}"}
        self.manager.api("POST", "/swarm/init", {**listen, "AdvertiseAddr": lab.master.ip})
        token = self.manager.api("GET", "/swarm")["JoinTokens"]["Worker"]
        for worker in self.workers.values():
            join = {"RemoteAddrs": [f"{lab.master.ip}:{PORT}"], "JoinToken": token}
            worker.api("POST", "/swarm/join", {**listen, **join, "AdvertiseAddr": worker.host.ip})
        begun = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look, name="swarm", daemon=True)
        self._thread.start()
        for name in self.workers:
            self.wait(name, True, begun)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def kill(self, node: str) -> None:
        self.workers[node].daemon.kill()

    def start(self, node: str) -> None:
        self.workers[node].daemon.wait()
        self.workers[node].start()

    def reconnect(self, node: str) -> None:
        """There is no way to ask for it."""

    def wait(self, node: str, alive: bool, since: float) -> float:
        return self._sightings.wait(node, alive, since)

    def lost(self, since: float) -> int:
        return self._sightings.lost(since)

    def create_service(self, name: str) -> float:
        """By the `docker` command; the moment at which its one task was seen running."""
        site, manager = self._lab.site, self.manager
        command = [*manager.host.prefix(), "docker", "--host", f"unix://{manager.socket}"]
        command += ["service", "create", "--detach", "--no-resolve-image", "--network", "host"]
        command += ["--constraint", "node.role==worker", "--env", mark(site)]
        command += ["--stop-grace-period", "1s"]
        site.run([*command, "--name", name, IMAGE])
        query = urlencode({"filters": f'{{"service": ["{name}"]}}'})
        deadline = time.monotonic() + PATIENCE
        while True:
            states = [t["Status"] for t in manager.api("GET", f"/tasks?{query}")]
            if any(state["State"] == "running" for state in states):
                return time.monotonic()
            if time.monotonic() > deadline:
                raise LabError(f"service {name} did not run within {PATIENCE:g} s: {states}")
            time.sleep(LOOK_EVERY)

    def remove_service(self, name: str) -> None:
        """Returns when no container of it is left."""
        self.manager.api("DELETE", f"/services/{name}")
        deadline = time.monotonic() + PATIENCE
        while any(w.api("GET", "/containers/json?all=true") for w in self.workers.values()):
            if time.monotonic() > deadline:
                raise LabError(f"service {name} was not gone within {PATIENCE:g} s")
            time.sleep(LOOK_EVERY)

    def _look(self) -> None:
        """As `docker node ls` does, again and again: it has no way to watch from outside."""
        names = {host.ip: name for name, host in self._lab.nodes.items()}
        before: dict[str, str] = {}
        while not self._closing.wait(LOOK_EVERY):
            with contextlib.suppress(OSError, LabError):
                for node in self.manager.api("GET", "/nodes"):
                    status = node["Status"]
                    name, state = names.get(status.get("Addr", ""), ""), status["State"]
                    if name and state != before.get(name) and state in STATES:
                        before[name] = state
                        self._sightings.add(name, STATES[state])
