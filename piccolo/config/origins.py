"""Which value of a setting wins, and where it came from: the one place that knows both.

Defaults < file < environment < command line. `Resolution` takes every value of a role's settings
once and notes where that was, so that `piccolo config show` says what the role itself goes by.
Noting costs some 0.1 ms of a start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from piccolo.config.document import Document, Path
from piccolo.config.paths import default_data_dir
from piccolo.config.validation import option, path_text
from piccolo.core.errors import InvalidSpec

T = TypeVar("T")

HIDDEN = "(not shown)"  # stands for a secret
SECONDS, BYTES = "s", "bytes"


class Source(StrEnum):
    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Origin:
    source: Source = Source.DEFAULT
    name: str = ""  # of the file, the variable, or the option
    line: int = 0  # in the file

    def __str__(self) -> str:
        match self.source:
            case Source.FILE:
                return f"{self.name}:{self.line}"
            case Source.ENVIRONMENT:
                return f"${self.name}"
            case Source.FLAG:
                return self.name
        return "default"


@dataclass(frozen=True, slots=True)
class Value:
    """What a key is in the end."""

    key: str  # as in the file: "heartbeat.interval", "nodeagent.labels.zone"
    value: object
    origin: Origin
    unit: str = ""  # of a number: SECONDS or BYTES

    def plain(self) -> object:
        """As JSON and YAML have it."""
        if isinstance(self.value, BaseModel):
            return self.value.model_dump(mode="json", exclude_defaults=True)
        return str(self.value) if isinstance(self.value, StrEnum) else self.value


@dataclass(frozen=True, slots=True)
class Resolved(Generic[T]):
    settings: T
    notices: list[str]  # for people: what was given and means less than it seems
    values: list[Value]


@dataclass(frozen=True, slots=True)
class Variable(Generic[T]):
    """A value from the environment."""

    name: str
    value: T


def variable(
    environ: Mapping[str, str], name: str, parse: Callable[[str], T]
) -> Variable[T] | None:
    """None: it is not given, or empty. Raises `InvalidSpec`, naming the variable."""
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        return Variable(name, parse(text))
    except InvalidSpec as error:
        raise InvalidSpec(f"environment variable {name}: {error}") from None


class Resolution:
    """Takes values for one role's settings.

    `below` is the key that all others stand below. `spelled` has the options whose names are not
    made from the last step of their keys.
    """

    def __init__(self, document: Document, below: str, spelled: Mapping[str, str]) -> None:
        self.values: list[Value] = []
        self._document = document
        self._below: Path = (below,) if below else ()
        self._spelled = spelled

    def take(
        self,
        key: str,
        settled: T,
        *,
        environ: Variable[T] | None = None,
        flag: T | None = None,
        item: str | int | None = None,
        written: str = "",
        unit: str = "",
        shown: Callable[[T], object] | None = None,
    ) -> T:
        """The value of `key`, or of an `item` of it. `settled`: the file's, or the default.

        `written`: the key in the file that gives the value, where it is another one. `shown`: what
        people may see of it.
        """
        below: Path = () if item is None else (item,)
        path = (*self._below, *key.split("."), *below)
        value = settled
        if flag is not None:
            value, origin = flag, Origin(Source.FLAG, option(key.split(".")[-1], self._spelled))
        elif environ is not None:
            value, origin = environ.value, Origin(Source.ENVIRONMENT, environ.name)
        else:
            origin = self._origin((*self._below, *(written or key).split("."), *below))
        seen = value if shown is None else shown(value)
        self.values.append(Value(path_text(path), seen, origin, unit))
        return value

    def take_data_dir(
        self,
        role: str,
        in_file: str | None,
        flag: str | None,
        environ: Mapping[str, str],
        root: bool | None,
    ) -> str:
        """`root`: None for whether this process runs as root."""
        settled = in_file or flag
        if settled is None:  # only then there must be a home directory
            is_root = os.geteuid() == 0 if root is None else root
            settled = default_data_dir(role, environ, root=is_root)
        return self.take("data_dir", settled, flag=flag)

    def take_items(
        self, key: str, settled: Mapping[Any, T], given: Mapping[Any, T]
    ) -> dict[Any, T]:
        """What adds up: the items of the file, and over them those of the command line."""
        taken = {
            item: self.take(key, value, flag=given.get(item), item=item)
            for item, value in {**settled, **given}.items()
        }
        if not taken:
            self.take(key, taken)
        return taken

    def take_section(
        self, key: str, section: BaseModel, units: Mapping[str, str], but: Collection[str] = ()
    ) -> dict[str, Any]:
        """The values of a part of the file that nothing overrides; `but` without these."""
        return {
            name: self.take(f"{key}.{name}", getattr(section, name), unit=units.get(name, ""))
            for name in type(section).model_fields
            if name not in but
        }

    def _origin(self, path: Path) -> Origin:
        value: Any = self._document.value
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return Origin()
        if value is None:  # a key without a value is not given
            return Origin()
        return Origin(Source.FILE, self._document.source, self._document.position(path)[0])
