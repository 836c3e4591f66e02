"""Documents → models: every problem found, each with its place and what to do.

pydantic decides what is valid; this module says it in the words of someone who edits YAML.
Values appear in messages only where the kind of error needs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from piccolo.config.document import Document, Path
from piccolo.core.errors import InvalidSpec
from piccolo.core.words import choices, kind, printable, show, suggest

MAX_PROBLEMS = 50  # said in one message; the rest is counted
_LONGEST_MESSAGE = 1000  # characters: some repeat what they refuse

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    path: Path
    message: str  # complete without what it is about
    about: Path  # what it is about: for an unknown key, the mapping that does not know it
    first: Path | None = None  # where the thing is that this one repeats


def validate(model_cls: type[Model], document: Document) -> Model:
    """`document` as a model; an empty document counts as one without keys.

    Raises `InvalidSpec` with one line per problem, in the order of the file:
    `node.yaml:12:5: nodes[2].ip: "10.0.0" is not an IPv4 or IPv6 address`.
    """
    found, problems = find_problems(model_cls, document)
    if found is None:
        raise InvalidSpec("\n".join(worded(problems, document)))
    return found


def find_problems(model_cls: type[Model], document: Document) -> tuple[Model | None, list[Problem]]:
    """As `validate`: the model, or else what is wrong, in the order of the file."""
    value = {} if document.value is None else document.value
    try:
        return model_cls.model_validate(value), []
    except ValidationError as error:
        problems = explain(error, model_cls, value)
        return None, sorted(problems, key=lambda p: document.position(p.path))


def worded(problems: Iterable[Problem], document: Document) -> list[str]:
    """A line per problem, in the order of the file."""
    ordered = sorted(problems, key=lambda p: document.position(p.path))
    lines = [f"{document.place(p.path)}: {said(p, document)}" for p in ordered[:MAX_PROBLEMS]]
    if len(ordered) > MAX_PROBLEMS:
        lines.append(f"{document.source}: and {len(ordered) - MAX_PROBLEMS} more problems")
    return lines


def said(problem: Problem, document: Document) -> str:
    """A problem without its place."""
    where = f"{path_text(problem.about)}: " if problem.about else ""
    first = ""
    if problem.first is not None:
        first = f" (first on line {document.position(problem.first)[0]})"
    return f"{where}{_line(problem.message)}{first}"


def validate_flags(
    model_cls: type[Model], flags: Mapping[str, object], spelled: Mapping[str, str]
) -> Model:
    """Command-line values as a model; None and empty lists count as not given.

    `spelled` has the options whose names are not made from their keys. Raises `InvalidSpec`.
    """
    given = {
        k: list(v) if isinstance(v, tuple) else v
        for k, v in flags.items()
        if v is not None and v != () and v != []
    }
    try:
        return model_cls.model_validate(given)
    except ValidationError as error:
        lines = [
            f"{option(str(p.path[0]), spelled) if p.path else 'command line'}: {_line(p.message)}"
            for p in explain(error, model_cls, given)
        ]
        raise InvalidSpec("\n".join(lines)) from None


def option(key: str, spelled: Mapping[str, str]) -> str:
    """How the command line calls what is `key` in a file: see `validate_flags`."""
    return spelled.get(key, f"--{key.replace('_', '-')}")


def path_text(path: Path) -> str:
    """`nodes[2].labels["a/b"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", step):
            text += f".{step}" if text else step
        else:
            text += f"[{show(step)}]"
    return text


def explain(error: ValidationError, model_cls: type[BaseModel], value: object) -> Iterator[Problem]:
    """What pydantic found, for people."""
    for item in error.errors(include_url=False):
        loc, context = item["loc"], item.get("ctx", {})
        path = _real_path(loc, value)
        if item["type"] == "extra_forbidden":
            yield Problem(path, _unknown_key(path, model_cls), path[:-1])
        elif item["type"] == "missing":
            about = _real_path(loc[:-1], value)
            yield Problem(path, f"{show(str(loc[-1]))} is missing", about)
        else:
            message = _message(item["type"], item["input"], context) or item["msg"]
            yield Problem(path, message, path, context.get("first"))


def _real_path(loc: Iterable[str | int], value: Any) -> Path:
    """pydantic's location without the steps that are no steps in the data (unions, `[key]`)."""
    path: list[str | int] = []
    for step in loc:
        if isinstance(value, Mapping):
            leads_on = step in value
        else:
            leads_on = isinstance(value, list) and step in range(len(value))
        if leads_on:
            value = value[step]
            path.append(step)
    return tuple(path)


def _unknown_key(path: Path, model_cls: type[BaseModel]) -> str:
    *around, key = path
    reached: list[Any] = [model_cls]
    for step in around:
        reached = [inner for annotation in reached for inner in _below(annotation, step)]
    models = [model for annotation in reached for model in _models_in(annotation)]
    for model in models:
        if reason := getattr(model, "REFUSED", {}).get(key):
            return f"{show(key)} is not supported: {reason}"
    allowed = {f.alias or n: f.annotation for m in models for n, f in m.model_fields.items()}
    text = f"unknown key {show(key)}"
    homes = [
        name
        for name, annotation in allowed.items()
        for m in _models_in(annotation)
        if any(key == (f.alias or n) for n, f in m.model_fields.items())
    ]
    if homes:
        text += f'; it belongs below "{homes[0]}"'
    else:
        text += suggest(str(key), allowed)
    separator = " " if text.endswith("?") else "; "
    return f"{text}{separator}allowed here: {', '.join(allowed)}"


def _below(annotation: Any, step: str | int) -> Iterator[Any]:
    """The annotations of what stands at `step` in a value of `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, f in annotation.model_fields.items():
            if step == (f.alias or name):
                yield f.annotation
    elif get_origin(annotation) is dict:
        yield get_args(annotation)[1]
    elif get_origin(annotation) is list:
        yield get_args(annotation)[0]
    else:  # Annotated, unions
        for argument in get_args(annotation):
            yield from _below(argument, step)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _message(error_type: str, value: object, context: Mapping[str, Any]) -> str | None:
    match error_type:
        case "value_error":
            return str(context["error"])
        case "string_type" if isinstance(value, bool | int | float):
            return f'{show(value)} must be text: put it in quotes, "{show(value)}"'
        case "string_type":
            return f"must be text, not {kind(value)}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number, not {_thing(value)}"
        case "float_type" | "float_parsing" | "finite_number":
            return f"must be a number, not {_thing(value)}"
        case "bool_type" | "bool_parsing":
            return f"must be true or false, not {_thing(value)}"
        case "list_type" | "tuple_type" | "set_type":
            return f'must be a list (lines that begin with "- "), not {kind(value)}'
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must hold keys (lines such as key: value), not {kind(value)}"
        case "literal_error" | "enum":
            options = re.findall(r"'([^']*)'", context["expected"])
            guess = suggest(value, options) if isinstance(value, str) else ""
            return f"{_thing(value)} is not possible here: write {choices(options)}{guess}"
        case "greater_than_equal":
            return f"{show(value)} is too small: at least {context['ge']:g}"
        case "less_than_equal":
            return f"{show(value)} is too large: at most {context['le']:g}"
        case "greater_than":
            return f"{show(value)} is too small: more than {context['gt']:g}"
        case "less_than":
            return f"{show(value)} is too large: less than {context['lt']:g}"
        case "too_short":
            return f"too few items: at least {context['min_length']}"
        case "too_long":
            return f"too many items: at most {context['max_length']}"
    return None


def _thing(value: object) -> str:
    return show(value) if isinstance(value, str | int | float) else kind(value)


def _line(message: str) -> str:
    return printable(message[:_LONGEST_MESSAGE])
