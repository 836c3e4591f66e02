"""The templates name every key, and mean the defaults, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from piccolo.config.agent import AgentFile, resolve_agent
from piccolo.config.checking import check_text
from piccolo.config.master import resolve_master
from piccolo.config.master_file import MasterFile
from piccolo.config.origins import Resolved
from piccolo.config.settings import AgentSettings, MasterSettings
from piccolo.config.template import template
from piccolo.core.roles import Role
from tests.config.test_docs import keys

_KEY = re.compile(r"( *)(#?)(- )?([a-z_]+):")
REQUIRED = ("nodes[].name", "nodes[].ip")  # of every node


@dataclass(frozen=True)
class Line:
    """One that gives a key."""

    role: Role
    number: int
    path: str
    above: tuple[int, ...]  # the lines of the keys around it
    commented: bool
    example: bool


def lines_of(role: Role) -> Iterator[Line]:
    around: list[tuple[int, str, int]] = []  # indentation, path, number of the line
    said = ""
    for number, text in enumerate(template(role).splitlines()):
        found = _KEY.match(text)
        if found is None:
            said = f"{said} {text}" if text.strip().startswith("# ") else ""
            continue
        spaces, mark, item, name = found.groups()
        indent = len(spaces) + len(item or "")
        while around and around[-1][0] >= indent:
            around.pop()
        path = f"{around[-1][1]}{'[]' if item else ''}.{name}" if around else name
        if around and around[-1][1] == "nodes" and not item:
            path = f"nodes[].{name}"
        yield Line(role, number, path, tuple(n for *_, n in around), bool(mark), "xample" in said)
        around.append((indent, path, number))
        said = ""


MODELS: dict[Role, type[BaseModel]] = {Role.MASTER: MasterFile, Role.AGENT: AgentFile}
KEYS = {role: set(keys(model)) for role, model in MODELS.items()}
ALL = {role: list(lines_of(role)) for role in Role}
COMMENTED = [
    line
    for lines in ALL.values()
    for line in lines
    if line.commented and line.path in KEYS[line.role]
]


def with_lines(role: Role, numbers: set[int]) -> str:
    """The template with these lines no longer commented out."""
    lines = template(role).splitlines()
    for number in numbers:
        lines[number] = lines[number].replace("#", "", 1)
    return "\n".join(lines) + "\n"


def resolved(role: Role, text: str, tmp_path: Path) -> tuple[object, list[str], dict[str, object]]:
    """Settings, notices, and values by their keys."""
    file = tmp_path / "file.yaml"
    file.write_text(text)
    found: Resolved[MasterSettings] | Resolved[AgentSettings]
    if role is Role.MASTER:
        found = resolve_master(file, {}, {}, root=True)
    else:
        found = resolve_agent(file, {}, {}, hostname="h", root=True)
    return found.settings, found.notices, {v.key: v.value for v in found.values}


@pytest.mark.parametrize("role", Role)
def test_every_key_is_there_once(role: Role) -> None:
    found = [line.path for line in ALL[role]]
    assert len(found) == len(set(found))
    assert set(found) >= KEYS[role]
    headers = set(found) - KEYS[role]
    assert all(any(key.startswith(f"{header}.") for key in KEYS[role]) for header in headers)


@pytest.mark.parametrize("role", Role)
def test_as_it_stands_it_means_the_defaults(tmp_path: Path, role: Role) -> None:
    nothing = {Role.MASTER: "{nodes: }", Role.AGENT: "{nodeagent: }"}[role]
    found = resolved(role, template(role), tmp_path)
    assert found == resolved(role, nothing, tmp_path)
    assert [notice for notice in found[1] if not notice.startswith("no master is named")] == []
    assert check_text(template(role), "x").role is role


@pytest.mark.parametrize("line", COMMENTED, ids=lambda line: line.path)
def test_a_line_that_is_uncommented_is_valid_and_the_default(tmp_path: Path, line: Line) -> None:
    """An example is valid, and means something else than the default."""
    live = {other.number for other in ALL[line.role] if not other.commented}
    needed = set(line.above) - live
    if line.path.startswith("nodes[]"):
        needed |= {other.number for other in ALL[line.role] if other.path in REQUIRED}
    given = resolved(line.role, with_lines(line.role, needed | {line.number}), tmp_path)
    if line.path in REQUIRED or line.path.startswith("nodes[].credentials."):
        needed = set()  # which are nothing without it
    plain = resolved(line.role, with_lines(line.role, needed), tmp_path)
    assert line.example == (given != plain)


def test_all_lines_at_once_are_valid(tmp_path: Path) -> None:
    """But those that exclude each other."""
    for role, other in ((Role.MASTER, "token"), (Role.AGENT, "masters")):
        numbers = {x.number for x in ALL[role] if x.commented and not x.path.endswith(other)}
        settings, _, _ = resolved(role, with_lines(role, numbers), tmp_path)
        assert settings != resolved(role, template(role), tmp_path)[0]


def test_enough_lines_were_found() -> None:
    assert len(COMMENTED) > 45
    assert sum(not line.example for line in COMMENTED) > 30
