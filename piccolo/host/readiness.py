"""All facts that the readiness check judges, gathered at the same time and within a deadline."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from piccolo.core.address import Address
from piccolo.core.readiness.facts import Facts, Peer, Site
from piccolo.host import reach
from piccolo.host.bounded import ask_all
from piccolo.host.certificates import certificates
from piccolo.host.kernel import kernel, user
from piccolo.host.machine import CONTAINERS, disks, machine
from piccolo.host.master_time import ahead
from piccolo.host.podman import podman
from piccolo.host.ports import listeners

DEADLINE = 1.4  # s, for everything together; the whole check takes less than 2
_CONNECT = 1.0  # s
_PROGRAM = 1.3  # s; a ping waits for 1

_Questions = dict[str, Callable[[], Any]]


def gather(site: Site, root: Path, tls: ssl.SSLContext, seconds: float = DEADLINE) -> Facts:
    """`root` is before all paths that are read; sockets and programs are this machine's. `tls`:
    by which the master is asked for its time. What a broken configuration does not tell is not
    looked at.
    """
    questions: _Questions = {
        "machine": partial(machine, root),
        "disks": partial(disks, root, site.data_dir, CONTAINERS),
        "kernel": partial(kernel, root),
        "user": partial(user, root),
        "podman": partial(podman, root, site.podman_sockets, _PROGRAM),
        "certificates": partial(certificates, root, site.data_dir, site.role),
    }
    if site.listen is not None:
        questions["listeners"] = partial(listeners, root, site.listen.port)
    network = _about(site.masters, _of_master, tls) | _about(site.etcd, _of_etcd, tls)
    answers = ask_all(questions | network, seconds)
    return Facts(
        site=site,
        now=time.time(),
        peers=_peers(site.masters, answers),
        etcd=_peers(site.etcd, answers),
        **{name: answers[name] for name in questions},
    )


def _about(
    addresses: Sequence[Address],
    questions: Callable[[Address, ssl.SSLContext], _Questions],
    tls: ssl.SSLContext,
) -> _Questions:
    return {f"{name} {a}": ask for a in addresses for name, ask in questions(a, tls).items()}


def _of_master(address: Address, tls: ssl.SSLContext) -> _Questions:
    return {
        **_of_etcd(address, tls),
        "resolves": partial(reach.resolves, address),
        "ping": partial(reach.ping, address, _PROGRAM),
        "mtu": partial(reach.mtu, address, _PROGRAM),
        "ahead": partial(ahead, address, tls, _CONNECT),
    }


def _of_etcd(address: Address, tls: ssl.SSLContext) -> _Questions:
    return {"failure": partial(reach.failure, address, _CONNECT)}


def _peers(addresses: Sequence[Address], answers: dict[str, Any]) -> tuple[Peer, ...]:
    return tuple(_peer(address, answers) for address in addresses)


def _peer(address: Address, answers: dict[str, Any]) -> Peer:
    mtu, mtu_bytes = answers.get(f"mtu {address}") or (None, 0)
    found = {n: answers.get(f"{n} {address}") for n in ("resolves", "failure", "ping", "ahead")}
    return Peer(address, mtu=mtu, mtu_bytes=mtu_bytes, **found)
