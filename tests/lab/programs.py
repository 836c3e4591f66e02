"""The programs of a lab by host and name: on nodes agent and podman, else master and etcd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.errors import LabError
from tests.lab.process import Proc

if TYPE_CHECKING:
    from tests.lab.cluster import Lab

STOP_SECONDS = 20.0


class Programs:
    """Raises `LabError` for what is not there, or does not run."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def check_host(self, host: str) -> None:
        if host not in self._lab.net.hosts:
            raise LabError(f"no host {host!r} here: there are {', '.join(self._lab.net.hosts)}")

    def named(self, host: str, program: str = "") -> str:
        """Its name, by default that of PICCOLO's own."""
        self.check_host(host)
        known = ("master", "etcd") if host == "master" else ("agent", "podman")
        if program and program not in known:
            raise LabError(f"no program {program!r} on {host}: there are {' and '.join(known)}")
        return program or known[0]

    def has(self, host: str, part: str) -> bool:
        return part in (("master", "etcd") if host == "master" else ("agent", "podman"))

    def find(self, host: str, program: str) -> Proc | None:
        lab = self._lab
        if program == "podman":
            return lab.podman[host].service if host in lab.podman else None
        if program == "agent":
            return lab.agents.get(host)
        return lab.master_proc if program == "master" else lab.etcd_proc

    def alive(self, host: str, program: str) -> bool:
        found = self.find(host, program)
        return found is not None and found.alive

    def running(self, host: str, program: str) -> Proc:
        found = self.find(host, program)
        if found is None or not found.alive:
            raise LabError(f"{program} does not run on {host}: ./dev lab restart {host} {program}")
        return found

    def start(self, host: str, program: str) -> None:
        """As it was started before. Nothing happens when it runs."""
        if self.alive(host, program):
            return
        if program == "podman":
            if host not in self._lab.podman:
                raise LabError(f"{host} has no Podman in this lab")
            self._lab.podman[host].start_service()
        elif program == "etcd":
            if self._lab.store != "etcd":
                raise LabError("this lab has no etcd: make it with that store (--store etcd)")
            self._lab.start_etcd()
        else:
            self._lab.start_again(host)

    def kill(self, host: str, program: str) -> None:
        found = self.running(host, program)
        found.kill()
        found.wait()

    def stop(self, host: str, program: str) -> None:
        found = self.running(host, program)
        found.thaw()  # a frozen one would not hear of it
        found.terminate(STOP_SECONDS)

    def thaw(self, host: str, program: str) -> None:
        """Nothing happens when it has ended meanwhile."""
        if self.alive(host, program):
            self.running(host, program).thaw()

    def end(self, host: str, program: str) -> None:
        """Nothing happens when it does not run."""
        if self.alive(host, program):
            self.kill(host, program)
