"""What goes wrong in a soak, and when: random, but the same for the same seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["both", "in", "out"]

AT_ONCE = 2  # faults at most
GAP = (0.5, 4.0)  # s between the beginnings of two faults, unless there are too many already
FILLED = 16 << 10  # bytes left on a disk that is full
WRITES = 6  # a second, on a disk that is slow

NETWORK = ("cut", "cut in", "cut out", "loss", "reset")
FROZEN = ("freeze",)
DISK = ("fill", "slow")
ENDED = ("kill", "restart")
PODMAN = ("freeze podman", "kill podman", "restart podman")
AT_A_STROKE = {"reset", "restart", "restart podman"}  # over at once: nothing to heal


@dataclass(frozen=True, slots=True)
class Mishap:
    """`kind` befalls `host` from `begin` to `end`, in seconds from the start of the soak."""

    begin: float
    end: float
    kind: str
    host: str
    percent: float = 0.0  # of the packets that are lost

    @property
    def part(self) -> str:
        """What of the host is broken, as the lab calls it: one thing at a time is wrong with it."""
        if self.kind in NETWORK:
            return "cable"
        if self.kind in DISK:
            return "space" if self.kind == "fill" else "speed"
        if self.kind in PODMAN:
            return "podman"
        return "master" if self.host == "master" else "agent"


def mishaps(
    chance: random.Random,
    seconds: float,
    nodes: Sequence[str],
    mortal: Sequence[str],
    lasting: tuple[float, float],
) -> list[Mishap]:
    """All of a soak of so many seconds, by their beginnings.

    `mortal`: the nodes whose agents may end; `lasting`: seconds of a fault, the least and the most.
    """
    kinds = [
        (kind, host)
        for host in ["master", *nodes]
        for kind in (
            *NETWORK,
            *FROZEN,
            *DISK,
            *(PODMAN if host in nodes else ()),
            *(ENDED if host in mortal else ()),
        )
    ]
    found: list[Mishap] = []
    at = chance.uniform(*GAP)
    while at < seconds:
        kind, host = chance.choice(kinds)
        end = at if kind in AT_A_STROKE else at + chance.uniform(*lasting)
        percent = round(chance.uniform(10, 40)) if kind == "loss" else 0.0
        new = Mishap(at, min(end, seconds), kind, host, percent)
        open_ = [one for one in found if one.end > at]
        if len(open_) >= AT_ONCE:
            at = min(one.end for one in open_)
            continue
        if all((one.host, one.part) != (host, new.part) for one in open_):
            found.append(new)
        at += chance.uniform(*GAP)
    return found
