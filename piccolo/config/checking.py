"""A configuration file, checked by itself: whose it is, and all that is wrong with it.

Nothing is asked of the machine that this runs on: the file may be for another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from piccolo.config.agent import AgentFile, NodeAgentSection, less_than_it_seems
from piccolo.config.document import Document
from piccolo.config.document import Path as KeyPath
from piccolo.config.master_file import MasterFile
from piccolo.config.validation import find_problems, path_text, said
from piccolo.config.yaml_file import load_one, read_text, source_name
from piccolo.core.errors import InvalidSpec
from piccolo.core.roles import Role

_MODELS: dict[Role, type[BaseModel]] = {Role.MASTER: MasterFile, Role.AGENT: AgentFile}
_PLACE = re.compile(r":([0-9]+):([0-9]+): ")


@dataclass(frozen=True, slots=True)
class Remark:
    """A problem or notice. Line and column are from 1; 0: the file as a whole."""

    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True)
class Checked:
    source: str
    role: Role
    problems: list[Remark]
    notices: list[Remark]


def check(file: Path, role: Role | None = None) -> Checked:
    """What is wrong with a file is in the answer, also that it cannot be read."""
    source = source_name(file)
    try:
        text = read_text(file)
    except InvalidSpec as error:
        return Checked(source, role or _by_name(source), [_remark(source, error)], [])
    return check_text(text, source, role)


def check_text(text: str, source: str, role: Role | None = None) -> Checked:
    """`source` names the text. `role`: whose configuration it is to be; None: find out."""
    try:
        document = load_one(text, source)
    except InvalidSpec as error:
        return Checked(source, role or _by_name(source), [_remark(source, error)], [])
    role = role or _role_of(document)
    conf, problems = find_problems(_MODELS[role], document)
    remarks = [Remark(*document.position(p.path), said(p, document)) for p in problems]
    return Checked(source, role, remarks, _notices(conf, document))


def _role_of(document: Document) -> Role:
    """By the keys at the top; an empty file says nothing, but its name may."""
    value = document.value
    if not isinstance(value, dict) or not value:
        return _by_name(document.source)
    if "nodeagent" in value:
        return Role.AGENT
    known = {role: _known(value, role) for role in Role}
    return Role.AGENT if known[Role.AGENT] > known[Role.MASTER] else Role.MASTER


def _known(value: dict[str, Any], role: Role) -> int:
    """How many keys are the role's; the agent's may have been left one level too high."""
    model = MasterFile if role is Role.MASTER else NodeAgentSection
    return len(value.keys() & model.model_fields.keys())


def _by_name(source: str) -> Role:
    return Role.AGENT if "agent" in source.rpartition("/")[2] else Role.MASTER


def _notices(conf: BaseModel | None, document: Document) -> list[Remark]:
    if conf is None:
        return []
    if document.value is None:
        return [Remark(0, 0, "the file is empty: defaults hold")]
    if not isinstance(conf, AgentFile):
        return []
    section = conf.nodeagent
    found: list[tuple[KeyPath, str]] = [
        (path, f"{path_text(path)} {message}") for path, message in less_than_it_seems(section)
    ]
    if section.masters is None and section.master_ip is None:
        message = "names no master: the agent needs --master or $MASTER_NODE_IP then"
        found.append((("nodeagent",), message))
    return [Remark(*document.position(path), message) for path, message in found]


def _remark(source: str, error: InvalidSpec) -> Remark:
    """From a message that begins with the source, and maybe the place."""
    rest = str(error).removeprefix(source)
    if place := _PLACE.match(rest):
        return Remark(int(place[1]), int(place[2]), rest[place.end() :])
    return Remark(0, 0, rest.removeprefix(": "))
