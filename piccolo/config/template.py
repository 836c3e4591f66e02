"""The configuration files that a new site begins with: every key, explained, at its default."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class Role(StrEnum):
    """Whose configuration it is."""

    MASTER = "master"
    AGENT = "agent"


FILES = {Role.MASTER: "node.yaml", Role.AGENT: "nodeagent.yaml"}


def template(role: Role) -> str:
    return Path(__file__).with_name("templates").joinpath(FILES[role]).read_text("utf-8")
