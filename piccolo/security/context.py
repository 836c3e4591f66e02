"""Contexts: who a client is, whom it trusts, and where its master is, in one private YAML file.

=====================  ===========================================================================
name                   what people call it
cluster                id of the cluster
role                   `admin` or `viewer`: what the certificate makes of its holder
masters                `host:port`, in the order to try them
not_before, not_after  of the certificate (RFC 3339), so that nobody has to parse it to know
ca                     whom to trust: the cluster's authority, or several while one is replaced
certificate, key       PEM
=====================  ===========================================================================

It is read at each start of the client: no pydantic here, and YAML only for what people have edited.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from piccolo.core.address import GRPC_PORT, parse_address
from piccolo.core.errors import InvalidSpec, NotFound
from piccolo.core.security.access import Role
from piccolo.core.words import kind, show, suggest
from piccolo.security.files import read_private, write_private

NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9._]{0,61}[A-Za-z0-9])?")  # it is a file name too
_HEAD = "# A context of PICCOLO. Whoever has this file can do what it allows: keep it secret."
_LINE = re.compile(r'([a-z_]+): (\||"[ -~]*"|\[[ -~]*\])')
_PEM = re.compile(r"-----BEGIN [ -~\n]*\n")
WARN_BEFORE = timedelta(days=14)  # of its end, or in the last quarter of its life
_TIMES = ("not_before", "not_after")
_NO_TEXT = (*_TIMES, "masters")
_DEPTH = 4  # of lists and mappings in each other; contexts have 2
_GET_ANOTHER = "get another: on the master, piccolo context create"


@dataclass(frozen=True, slots=True)
class Context:
    name: str
    cluster: str
    role: str
    masters: tuple[str, ...]  # "host:port", at least one
    not_before: datetime
    not_after: datetime
    ca: str
    certificate: str
    key: str = field(repr=False)

    def expired(self, now: datetime) -> bool:
        return now >= self.not_after

    def expires_soon(self, now: datetime) -> bool:
        """Whether somebody has to see to it. The master renews its own context before that."""
        left = self.not_after - now
        return left < WARN_BEFORE and left < (self.not_after - self.not_before) / 4


def load(path: Path) -> Context:
    """Raises `NotFound`, `InvalidSpec` for one that is damaged or that others can read, and
    `Unavailable`.
    """
    text = read_private(path)
    if text is None:
        raise NotFound(f"there is no context file {path}")
    return parse(text, str(path))


def save(path: Path, context: Context) -> None:
    """Write it (0600), whole or not at all, and durable. Raises `Unavailable`."""
    write_private(path, to_text(context))


def to_text(context: Context) -> str:
    """As YAML; strings are written as JSON has them, which is YAML too."""
    lines = [_HEAD]
    for item in fields(Context):
        value = getattr(context, item.name)
        if isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat()
        elif isinstance(value, tuple):
            value = list(value)
        if isinstance(value, str) and _PEM.fullmatch(value):
            lines.append(f"{item.name}: |")
            lines += [f"  {line}" for line in value.split("\n")[:-1]]
        else:
            lines.append(f"{item.name}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def parse(text: str, source: str) -> Context:
    """What `to_text` gives, and other YAML that says the same; `source` is for the messages.

    Raises `InvalidSpec`.
    """
    found = _as_written(text) or _mapping(text, source)
    names = [item.name for item in fields(Context)]
    for key in found:
        if key not in names:
            raise InvalidSpec(f"{source}: unknown key {show(key)}{suggest(str(key), names)}")
    if missing := [name for name in names if name not in found]:
        raise InvalidSpec(
            f"{source}: this is no context: {', '.join(missing)} missing; {_GET_ANOTHER}"
        )
    given = {name: found[name] for name in names}
    given["masters"] = _masters(given["masters"], source)
    for name in _TIMES:
        given[name] = _time(given[name], name, source)
    for name in names:
        if name not in _NO_TEXT and not isinstance(given[name], str):
            raise InvalidSpec(f"{source}: {name} must be text, in quotes")
    if given["role"] not in (Role.ADMIN, Role.VIEWER):
        raise InvalidSpec(f"{source}: role {show(given['role'])}: write admin or viewer")
    check_name(given["name"], source)
    return Context(**given)


def check_name(name: str, source: str) -> str:
    """A name under which a context can be kept. Raises `InvalidSpec`."""
    if not NAME.fullmatch(name):
        raise InvalidSpec(
            f'{source}: {show(name)} is not a name for a context: letters, digits, "-", "_" and'
            ' ".", at most 63'
        )
    return name


def _as_written(text: str) -> Mapping[str, Any] | None:
    """What `to_text` gave, read without YAML: its import takes 10 ms of each command.

    None: it is not exactly that, somebody has edited it.
    """
    head, *lines = text.split("\n")
    found: dict[str, Any] = {}
    block = ""
    if head != _HEAD or not lines or lines.pop() != "":
        return None
    for line in lines:
        if block and line.startswith("  "):
            found[block] += f"{line[2:]}\n"
        elif (match := _LINE.fullmatch(line)) and match[1] not in found:
            block = match[1] if match[2] == "|" else ""
            try:
                found[match[1]] = "" if block else json.loads(match[2])
            except (ValueError, RecursionError):
                return None
        else:
            return None
    return found


def _mapping(text: str, source: str) -> Mapping[Any, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            # `load` recurses, to the end of the stack, and repeats what aliases say.
            if depth > _DEPTH or isinstance(event, yaml.AliasEvent):
                at = f":{event.start_mark.line + 1}" if event.start_mark else ""
                raise InvalidSpec(
                    f"{source}{at}: this is no context: lists in lists and"
                    f" aliases have no place in one; {_GET_ANOTHER}"
                )
        found = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise InvalidSpec(
            f"{source}{where}: the context is damaged: it is not YAML"
            f" ({getattr(error, 'problem', None) or 'unreadable'}); {_GET_ANOTHER}"
        ) from None
    if not isinstance(found, Mapping):
        raise InvalidSpec(f"{source}: this is no context, but {kind(found)}; {_GET_ANOTHER}")
    return found


def _masters(value: object, source: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(m, str) for m in value):
        raise InvalidSpec(f'{source}: masters must be a list of addresses, ["10.0.0.1:50051"]')
    try:
        return tuple(str(parse_address(m, GRPC_PORT)) for m in value)
    except InvalidSpec as error:
        raise InvalidSpec(f"{source}: masters: {error}") from None


def _time(value: object, name: str, source: str) -> datetime:
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidSpec(f"{source}: {name}: {show(value)} is no time") from None
