"""The two roles of the program, and what each one's file is called (LLD 3.2)."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    MASTER = "master"
    AGENT = "agent"


FILES = {Role.MASTER: "node.yaml", Role.AGENT: "nodeagent.yaml"}
