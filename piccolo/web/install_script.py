"""The script by which a bare machine gets the bundle: rendered for whoever asks for it.

It came over a connection that was pinned to the master's key, so what stands in it can be relied
on: the authority, by which the bundle is fetched, and the checksum, by which it is judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from piccolo.core.address import Address
from piccolo.core.security.access import MASTER_NAME
from piccolo.web.bundles import Bundle

_PLACE = re.compile(r"@([A-Z_]+)@")
_HARMLESS = re.compile(r"[-+./:=\[\]\w \n]*", re.ASCII)  # in single quotes


@dataclass(frozen=True, slots=True)
class Origin:
    """What the script says of its master."""

    version: str
    grpc_port: int
    authority: str  # PEM
    key_pin: str  # of the master's key, as curl's --pinnedpubkey takes it


@cache
def _template() -> str:
    return files("piccolo.web").joinpath("install.sh").read_text()


def render(origin: Origin, here: Address, bundles: Sequence[Bundle]) -> str:
    """`here`: where the master was reached."""
    host = f"[{here.host}]" if ":" in here.host else here.host
    lines = [f"{b.machine} {b.sha256} {b.size} {b.unpacked}" for b in bundles]
    values = {
        "VERSION": origin.version,
        "MASTER": here.host,
        "GRPC_PORT": str(origin.grpc_port),
        "NAME": MASTER_NAME,
        "PORT": str(here.port),
        "HOST": host,
        "PIN": origin.key_pin,
        "AUTHORITY": origin.authority.strip(),
        "BUNDLES": "\n".join(lines),
    }
    for name, value in values.items():
        if not _HARMLESS.fullmatch(value):
            raise ValueError(f"{name} does not belong into a script: {value!r}")
    return _PLACE.sub(lambda place: values[place[1]], _template())
