"""What the models of all documents have in common.

Field names are Python's here and camelCase in documents. Every key has a description, which the
JSON Schema carries on into editors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from piccolo.config.document import Path
from piccolo.config.fields import Strict, raise_problems, reasoned
from piccolo.config.validation import Problem
from piccolo.core.errors import InvalidSpec


class Manifest(Strict):
    model_config = ConfigDict(alias_generator=to_camel)


@dataclass(frozen=True, slots=True)
class Ignored:
    """Marks a key that is taken and has no effect; `reason` is told to the person."""

    reason: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "description": f"Ignored: {self.reason}."}


def key(description: str, default: Any = None, **options: Any) -> Any:
    """A field with its description; `...` as default: it must be given."""
    return Field(default, description=description, **options)


def ignored_in(value: object, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where a checked model was given keys without effect, and why they have none."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            if name not in value.model_fields_set:
                continue
            f = type(value).model_fields[name]
            here = (*path, f.alias or name)
            reasons = [m.reason for m in f.metadata if isinstance(m, Ignored)]
            if reasons:
                yield here, reasons[0]
            else:
                yield from ignored_in(getattr(value, name), here)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from ignored_in(item, (*path, index))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from ignored_in(item, (*path, name))


def one_of(model: Manifest, *names: str) -> None:
    """In a validator: exactly one of these keys is to be given."""
    given = [n for n in names if getattr(model, n) is not None]
    if len(given) != 1:
        aliases = [str(type(model).model_fields[n].alias) for n in names]
        found = f", not {' and '.join(given)}" if given else ""
        raise_problems([((), f"give exactly one of {', '.join(aliases)}{found}", None)])


def only_false(reason: str) -> AfterValidator:
    """A switch that is known from elsewhere and cannot be on here."""

    def check(value: bool) -> bool:
        if value:
            raise InvalidSpec(f"true is not supported: {reason}")
        return value

    return AfterValidator(reasoned(check))


@dataclass(slots=True)
class Report:
    """What is found in one document beyond what its model checks."""

    problems: list[Problem] = field(default_factory=list)
    notices: list[tuple[Path, str]] = field(default_factory=list)

    def problem(self, path: Path, message: str, first: Path | None = None) -> None:
        """`first`: where the thing is that this one repeats."""
        self.problems.append(Problem(path, message, path, first))

    def notice(self, path: Path, message: str) -> None:
        self.notices.append((path, message))
