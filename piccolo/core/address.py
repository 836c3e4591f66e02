"""Network addresses as people write them: `host`, `host:port`, `[ipv6]:port`.

The lean agent process uses this too: standard library only.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import show

GRPC_PORT = 50051  # LLD 3.2.2
ETCD_PORT = 2379
INSTALL_PORT = 50052  # HTTPS: the master serves its bundles to machines that are to join

_HOST_LABEL = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name, IPv4 or IPv6 without brackets) and a port. `str()` gives `host:port`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int, *, lowest_port: int = 1) -> Address:
    """`10.0.0.1`, `10.0.0.1:50051`, `master.example`, `::1`, `[::1]`, `[::1]:50051`.

    An IPv6 address followed by a port needs the brackets. `lowest_port=0` is for listening, where
    port 0 means any free one. Raises `InvalidSpec`.
    """
    text = text.strip()
    if "://" in text:
        raise InvalidSpec(f"{show(text)} is a URL: write host:port alone")
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise InvalidSpec(f"{show(text)} is not of the form [IPv6 address]:port")
        return Address(
            _canonical(host), parse_port(rest[1:], lowest_port) if rest else default_port
        )
    if text.count(":") > 1:
        if not _is_ipv6(text):
            raise InvalidSpec(
                f"{show(text)} is not an IPv6 address; with a port it is written [address]:port"
            )
        return Address(_canonical(text), default_port)
    host, colon, port = text.partition(":")
    if not host:
        missing = "a host is missing"
        raise InvalidSpec(f"{show(text)}: {missing}; write host:port" if text else missing)
    return Address(_host(host), parse_port(port, lowest_port) if colon else default_port)


def parse_port(value: object, lowest: int = 1) -> int:
    """A port from a number or from digits. Raises `InvalidSpec`."""
    digits = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 5
    number = int(str(value)) if digits else value
    if not isinstance(number, int) or isinstance(number, bool) or not lowest <= number <= 65535:
        raise InvalidSpec(f"{show(value)} is not a port: a number from {lowest} to 65535")
    return number


def parse_ip(text: str) -> str:
    """The address of one machine in its shortest spelling, so that equal ones compare equal.

    Raises `InvalidSpec` for what is no IPv4 or IPv6 address, and for addresses that no single
    machine has for others: unspecified, multicast, broadcast, or with a zone (`%eth0`).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        hint = ""
        if "/" in text and _is_ip(text.partition("/")[0]):
            hint = ': write it without "/…"'
        elif _is_ip(text.rpartition(":")[0].strip("[]")):
            hint = ": write it without a port"
        raise InvalidSpec(f"{show(text)} is not an IPv4 or IPv6 address{hint}") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise InvalidSpec(
                f'{show(text)}: an address with a zone ("%") means something on one machine only'
            )
        address = address.ipv4_mapped or address
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise InvalidSpec(f"{show(text)} is not the address of a machine")
    return str(address)


def _host(text: str) -> str:
    labels = text.removesuffix(".").split(".")
    if labels[-1].isdecimal():  # RFC 1123, 2.1: then it is meant to be an IPv4 address
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise InvalidSpec(f"{show(text)} is not an IPv4 address") from None
    if len(text) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise InvalidSpec(f"{show(text)} is not a host name or IP address")
    return text.lower()


def _canonical(ipv6: str) -> str:
    return str(ipaddress.IPv6Address(ipv6))


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
