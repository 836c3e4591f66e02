"""The configuration files that a new site begins with: every key, explained, at its default."""

from __future__ import annotations

from pathlib import Path

from piccolo.core.roles import FILES, Role


def template(role: Role) -> str:
    return Path(__file__).with_name("templates").joinpath(FILES[role]).read_text("utf-8")
