"""A network on one machine, with real cables that can be cut.

Every host is a network namespace with `eth0`; the other end of that cable is a port of a bridge,
and the bridge stands in a namespace of its own, the hub. No interface of the machine itself is
touched, and since each lab has its own hub, all labs use the same addresses (198.18.0.0/16, set
aside for benchmarks by RFC 2544) without meeting.

Faults are nftables rules on the hub's bridge. That is on the way, as with a real cable: dropping
in the sender's own output hook would tell the sender (EPERM, no retransmission timers). They drop
everything, ARP too, and leave the carrier up: a silent cut.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.lab.errors import LabError
from tests.lab.site import Site

Direction = Literal["both", "in", "out"]

NAMESPACES = Path("/run/netns")
SUBNET = ipaddress.IPv4Network("198.18.0.0/16")
CLONE_NEWNET = 0x40000000  # sched.h
CARRIER_SECONDS = 10.0
_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}")  # it names an interface too: IFNAMSIZ - 1


@dataclass(frozen=True, slots=True)
class Host:
    """A machine of the lab. Without a namespace it is this machine under another address."""

    name: str
    ip: str
    dir: Path
    namespace: Path | None = None

    def prefix(self) -> list[str]:
        """What to put before a command so that it runs on this host.

        Not `ip netns exec`: that mounts a new /sys, and the cgroups are lost.
        """
        return ["nsenter", f"--net={self.namespace}"] if self.namespace else []

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """An IPv4 socket of this host, for use in our process: it keeps its namespace."""
        with self.entered():
            return socket.socket(socket.AF_INET, kind)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Meanwhile this thread is on this host: sockets that it makes are the host's."""
        if self.namespace is None:
            yield
            return
        libc = ctypes.CDLL(None, use_errno=True)  # os.setns is new in Python 3.12
        own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        there = os.open(self.namespace, os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter {self.namespace}")
            try:
                yield
            finally:
                libc.setns(own, CLONE_NEWNET)
        finally:
            os.close(own)
            os.close(there)


@dataclass(slots=True)
class Cable:
    """What is lost on a host's cable, in percent of the packets; "in" is towards the host."""

    lost_in: float = 0.0
    lost_out: float = 0.0


class Network:
    """Hosts on one hub. Makes its own site when none is given, and then closes it too."""

    def __init__(self, site: Site | None = None) -> None:
        self._owns_site = site is None
        self.site = site or Site()
        self.hosts: dict[str, Host] = {}
        self._cables: dict[str, Cable] = {}
        self._addresses = SUBNET.hosts()
        try:
            self._hub = self._add_namespace("hub")
            self._ip("link add hub type bridge forward_delay 0 stp_state 0", "link set hub up")
            self._apply_faults()
        except BaseException:
            self.close()
            raise

    def add_host(self, name: str) -> Host:
        """Add a host. Its name is unique here, lower-case, at most 15 letters, digits, dashes.

        Returns when its cable carries packets. Raises `LabError` when it does not.
        """
        if name in self.hosts or name in ("hub", "lo") or not _NAME.fullmatch(name):
            raise LabError(f"{name!r} cannot name a new host: choose another name")
        namespace = self._add_namespace(name)
        ip = str(next(self._addresses))
        # Both ends are born in their namespaces: nothing ever shows on the machine itself.
        self._ip(
            f"link add name {name} type veth peer name eth0 netns {namespace}",
            f"link set dev {name} master hub up",
        )
        self._ip(
            f"address add {ip}/{SUBNET.prefixlen} dev eth0", "link set eth0 up", namespace=namespace
        )
        self._wait_carrier(name, namespace)
        host = Host(name, ip, self.site.dir / name, NAMESPACES / namespace)
        host.dir.mkdir()
        self.hosts[name] = host
        self._cables[name] = Cable()
        return host

    @property
    def hub(self) -> Path:
        """The namespace with the bridge, for looking in by hand."""
        return NAMESPACES / self._hub

    def cut(self, host: Host | str, direction: Direction = "both") -> None:
        """Pull the cable silently. "in": nothing reaches the host; "out": nothing leaves it."""
        cable = self._cable(host)
        if direction in ("both", "in"):
            cable.lost_in = 100.0
        if direction in ("both", "out"):
            cable.lost_out = 100.0
        self._apply_faults()

    def loss(self, host: Host | str, percent: float) -> None:
        """Lose that share of the packets, in each direction independently."""
        if not 0 <= percent <= 100:
            raise LabError(f"a loss of {percent} % cannot be: choose 0..100")
        cable = self._cable(host)
        cable.lost_in = cable.lost_out = percent
        self._apply_faults()

    def heal(self, host: Host | str) -> None:
        """A perfect cable again: no cut, no loss."""
        self.loss(host, 0)

    def close(self) -> None:
        """Remove all hosts, when the site is ours; otherwise that is the owner's to do."""
        if self._owns_site:
            self.site.close()

    def _cable(self, host: Host | str) -> Cable:
        name = host if isinstance(host, str) else host.name
        if name not in self._cables:
            raise LabError(f"no host {name!r} here: there are {', '.join(self._cables)}")
        return self._cables[name]

    def _apply_faults(self) -> None:
        """Replace all rules in one transaction, so that no packet sees half of them."""
        rules = [
            f"{side} {name} {_drop(lost)}"
            for name, cable in self._cables.items()
            for side, lost in (("oifname", cable.lost_in), ("iifname", cable.lost_out))
            if lost
        ]
        ruleset = [
            "add table bridge lab",
            "flush table bridge lab",
            "add chain bridge lab forward { type filter hook forward priority 0; }",
            *(f"add rule bridge lab forward {rule}" for rule in rules),
        ]
        command = ["nsenter", f"--net={self.hub}", "nft", "-f", "-"]
        self.site.run(command, input="\n".join(ruleset) + "\n")

    def _add_namespace(self, name: str) -> str:
        namespace = f"pic-{self.site.id}-{name}"
        self.site.undo("ip", "netns", "delete", namespace)
        self.site.run(["ip", "netns", "add", namespace])
        self._ip("link set lo up", namespace=namespace)
        return namespace

    def _wait_carrier(self, port: str, namespace: str) -> None:
        """Until the cable is up at both ends, and the bridge forwards what comes out of it.

        The kernel sees to that when it comes to it, after `link set up` has returned. What is sent
        earlier is lost, and the next question for a link address is asked a second later.
        """
        deadline = time.monotonic() + CARRIER_SECONDS
        while True:
            near, far = self._link("eth0", namespace), self._link(port, self._hub)
            state = far["linkinfo"]["info_slave_data"]["state"]
            if (near["operstate"], far["operstate"], state) == ("UP", "UP", "forwarding"):
                return
            if time.monotonic() > deadline:
                raise LabError(
                    f"the cable of {port} carries nothing after {CARRIER_SECONDS:g} s: its ends are"
                    f" {near['operstate']} and {far['operstate']}, its port at the hub {state}"
                )
            time.sleep(0.005)

    def _link(self, device: str, namespace: str) -> Any:
        """What the kernel says of an interface: ip-link(8)."""
        show = ["ip", "-netns", namespace, "-json", "-details", "link", "show", "dev", device]
        return json.loads(self.site.run(show).stdout)[0]

    def _ip(self, *commands: str, namespace: str = "") -> None:
        self.site.run(
            ["ip", "-netns", namespace or self._hub, "-batch", "-"], input="\n".join(commands)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _drop(lost: float) -> str:
    if lost >= 100:
        return "drop"
    return f"numgen random mod 10000 < {round(lost * 100)} drop"


def missing() -> list[str]:
    """What this machine lacks for a `Network`; empty: it can have one."""
    lacking = [tool for tool in ("ip", "nft", "nsenter", "unshare") if shutil.which(tool) is None]
    if os.geteuid() != 0:
        return ["root", *lacking]
    if not lacking:
        trial = ["unshare", "--net", "--mount", "true"]
        if subprocess.run(trial, capture_output=True, check=False).returncode != 0:
            return ["the right to make network namespaces (an unprivileged container?)"]
    return lacking
