"""A request to join the cluster, and what it must be like, whoever sends it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from piccolo.core.errors import InvalidSpec
from piccolo.core.model import Facts, NodeRole, NodeType, Resources
from piccolo.core.nodes.liveness import PROFILES
from piccolo.core.selectors import check_labels

_ID = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,62}[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?")
MAX_LABELS = 64


@dataclass(frozen=True, slots=True)
class Registration:
    """As it came over the wire: nothing is checked yet."""

    node_id: str
    name: str
    ip: str
    role: NodeRole
    type: NodeType
    resources: Resources
    facts: Facts
    labels: Mapping[str, str]
    link: str = ""

    def check(self) -> None:
        """Raises `InvalidSpec`."""
        if not _ID.fullmatch(self.node_id):
            raise InvalidSpec(f'"{self.node_id}" is not a node id: 1 to 64 letters and digits')
        check_name(self.name)
        if self.ip:
            try:
                ipaddress.ip_address(self.ip)
            except ValueError:
                raise InvalidSpec(f'"{self.ip}" is not an IP address') from None
        if self.link and self.link not in PROFILES:
            raise InvalidSpec(f'link "{self.link}" is not known; there are {", ".join(PROFILES)}')
        if len(self.labels) > MAX_LABELS:
            raise InvalidSpec(f"a node has at most {MAX_LABELS} labels")
        check_labels(self.labels)


def check_name(name: str) -> None:
    """Raises `InvalidSpec` for what cannot be a node's name."""
    if not _NAME.fullmatch(name):
        raise InvalidSpec(
            f'"{name}" is not a node name: lower-case letters, digits, "-" and ".",'
            " at most 63; choose one with --name"
        )
