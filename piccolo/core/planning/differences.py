"""What differs between two workloads, for people: one line for each value that changed.

Paths are written as in documents. Things with names are found again by them, whatever their order;
values at their default count as there. Long texts, such as files, are cut to what tells them apart.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from typing import Any

from piccolo.core import plain
from piccolo.core.workloads.containers import File

_LONGEST = 200  # characters of a value
_SHOWN = 60  # of one that is longer; and of a file
_NAMES = ("name", "workload", "path")  # fields that tell the things of a list apart
_WORD = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Difference:
    path: str  # containers[web].image
    before: str  # compact JSON; empty: it was not there
    after: str


def differences(before: object | None, after: object | None) -> tuple[Difference, ...]:
    """None: there is no such workload, before or after."""
    return tuple(_walk("", before, after))


def _walk(path: str, before: Any, after: Any) -> Iterator[Difference]:
    """None: it is not there."""
    if before == after:
        return
    some = after if before is None else before
    if is_dataclass(some):
        found = _objects(path, before, after)
    elif isinstance(some, Mapping):
        found = _mappings(path, before or {}, after or {})
    elif isinstance(some, tuple) and any(map(is_dataclass, (*(before or ()), *(after or ())))):
        found = _lists(path, before or (), after or ())
    else:
        found = iter([Difference(path, _text(before), _text(after))])
    yield from found


def _objects(path: str, before: Any, after: Any) -> Iterator[Difference]:
    some = after if before is None else before
    names = [f.name for f in fields(some)]
    if before is None or after is None:  # what is at its default is not worth a line
        names = list(plain.to_plain(some))
        if not names:
            yield Difference(path, _text(before), _text(after))
    for name in names:
        yield from _walk(_join(path, _camel(name)), _field(before, name), _field(after, name))


def _field(value: Any, name: str) -> Any:
    if isinstance(value, File) and name == "content" and len(value.content) > _SHOWN:
        data = (
            b64decode(value.content) if value.base64 else value.content.encode("utf-8", "replace")
        )
        return f"{len(data)} bytes, sha256 {sha256(data).hexdigest()[:12]}…"
    return None if value is None else getattr(value, name)


def _mappings(
    path: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Difference]:
    for key in sorted({*before, *after}):
        yield from _walk(_join(path, key), before.get(key), after.get(key))


def _lists(path: str, before: tuple[Any, ...], after: tuple[Any, ...]) -> Iterator[Difference]:
    old, new = _named(before), _named(after)
    if old is None or new is None:
        old, new = (dict(enumerate(things)) for things in (before, after))
    for key in {**old, **new}:
        yield from _walk(f"{path}[{key}]", old.get(key), new.get(key))
    stay = [key for key in old if key in new], [key for key in new if key in old]
    if stay[0] != stay[1]:
        yield Difference(path, _text(list(old)), _text(list(new)))


def _named(things: tuple[Any, ...]) -> dict[Any, Any] | None:
    """The things by their names, if each has one of its own."""
    for field in _NAMES:
        found = {getattr(thing, field, None): thing for thing in things}
        if len(found) == len(things) and all(found):
            return found
    return None


def _join(path: str, key: str) -> str:
    if not _WORD.fullmatch(key):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(plain.to_plain(value), ensure_ascii=False, separators=(",", ":"))
    if len(text) <= _LONGEST:
        return text
    digest = sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{text[:_SHOWN]}… ({len(text)} characters, sha256 {digest}…)"
