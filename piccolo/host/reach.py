"""How an address looks from here: does its name resolve, does its port answer, does ping, and how
large may packets be.

Each question is asked by itself, and is to be bounded by the caller: see `bounded`.
"""

from __future__ import annotations

import re
import socket

from piccolo.core.address import Address
from piccolo.core.readiness.facts import Mtu
from piccolo.host.bounded import run_program

WHOLE = 1500  # bytes of an Ethernet frame
_HEADERS = {4: 28, 6: 48}  # of IP and ICMP together
_TOLD = re.compile(r"mtu ?= ?(\d+)")


def resolves(address: Address) -> bool:
    try:
        return bool(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


def failure(address: Address, seconds: float) -> str:
    """Why nobody answers there; empty: somebody does. Nothing is said to them."""
    try:
        socket.create_connection((address.host, address.port), seconds).close()
    except TimeoutError:
        return "no answer in time"
    except (OSError, UnicodeError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


def ping(address: Address, seconds: float) -> bool | None:
    """By the program, which may what we may not; None: it is not there, or may not either."""
    done = run_program("ping", "-c", "1", "-W", "1", address.host, seconds=seconds)
    return done[0] == 0 if done is not None and done[0] < 2 else None


def mtu(address: Address, seconds: float) -> tuple[Mtu, int] | None:
    """What becomes of a whole packet that must not be taken apart, and how many bytes were told
    to be the most; None: ping cannot do that.
    """
    payload = WHOLE - _HEADERS[6 if ":" in address.host else 4]
    options = ("-M", "do", "-c", "1", "-W", "1", "-s", str(payload))
    done = run_program("ping", *options, address.host, seconds=seconds)
    if done is None or done[0] > 1:
        return None
    code, said = done
    if code == 0:
        return Mtu.FITS, WHOLE
    if told := _TOLD.search(said):
        return Mtu.TOO_BIG, int(told[1])
    # Where there is no such option the usage is shown, and no statistics.
    return (Mtu.LOST, 0) if "100% packet loss" in said else None
