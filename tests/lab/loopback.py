"""The network of a lab without root: every host is this machine, under an address of its own.

It has the interface of `tests.lab.net.Network`, but no cable that could be cut.
"""

from __future__ import annotations

from typing import NoReturn

from tests.lab.errors import LabError
from tests.lab.net import Direction, Host
from tests.lab.site import Site


class LoopbackNetwork:
    """Hosts on 127.X.Y.1, .2, …; X.Y follows from the lab's id, to be clear of other labs."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.hosts: dict[str, Host] = {}
        number = int(site.id, 16)
        self._subnet = f"127.{1 + number // 256 % 254}.{number % 256}"

    def add_host(self, name: str) -> Host:
        host = Host(name, f"{self._subnet}.{len(self.hosts) + 1}", self.site.dir / name)
        host.dir.mkdir()
        self.hosts[name] = host
        return host

    def cut(self, host: Host | str, direction: Direction = "both") -> NoReturn:
        raise LabError("loopback has no cable to cut: this needs root, and Lab")

    def loss(self, host: Host | str, percent: float) -> NoReturn:
        raise LabError("loopback loses no packets: this needs root, and Lab")

    def heal(self, host: Host | str) -> None:
        """Nothing was ever broken."""
