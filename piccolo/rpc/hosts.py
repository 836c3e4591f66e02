"""By which names and addresses this machine can be reached."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

_EVERYTHING = {"0.0.0.0", "::"}


def host_name() -> str:
    return socket.gethostname()


def reachable(listen: str) -> list[str]:
    """Where a server that listens on `listen` is found from other machines, best first.

    For one that listens on everything: the machine's addresses as the kernel lists them
    (proc(5): fib_trie, if_inet6), without those that mean nothing elsewhere; if there are none,
    the machine's name.
    """
    if listen not in _EVERYTHING:
        return [listen]
    found = _local_ipv4() + (_local_ipv6() if listen == "::" else [])
    useful = [a for a in found if not (a.is_loopback or a.is_link_local or a.is_multicast)]
    return [str(a) for a in useful] or [host_name()]


def _local_ipv4() -> list[ipaddress.IPv4Address]:
    found, last = [], ""
    for line in _lines("/proc/net/fib_trie"):
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            found.append(ipaddress.IPv4Address(last))
    return list(dict.fromkeys(found))


def _local_ipv6() -> list[ipaddress.IPv6Address]:
    found = [line.split()[0] for line in _lines("/proc/net/if_inet6")]
    return [ipaddress.IPv6Address(int(digits, 16)) for digits in found]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
