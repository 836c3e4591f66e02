"""The generated sections of docs/workloads.md: keys, what is refused or has no effect, states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from piccolo.config.manifests.base import Ignored
from piccolo.config.manifests.kinds import INSTEAD
from piccolo.config.manifests.known import NOT_YET
from piccolo.config.manifests.kubernetes import Deployment
from piccolo.config.manifests.workload import WorkloadSpec
from piccolo.config.units import format_duration
from piccolo.core.planning.rollup import State

STATES: Mapping[State, str] = {
    State.HELD: "Declared by a Package that no action has launched, or that one has terminated.",
    State.PENDING: "A copy has no node, or its node is not ready. The message says why.",
    State.WAITING: "For what it depends on, or for Podman on its node.",
    State.STARTING: "Images are fetched, containers started, or they are not ready yet.",
    State.UPDATING: "Copies of an earlier generation are being replaced.",
    State.RUNNING: "All copies are well.",
    State.DEGRADED: "Some copies are well, or the only one is not well at present.",
    State.CRASH_LOOP: "It ended three times in a row or more. It is started again, with pauses.",
    State.ERROR: "It could not be made or started: the reason says why. It is tried again.",
    State.COMPLETED: "It ended with exit code 0, and stays so.",
    State.FAILED: "It ended otherwise, and stays so.",
    State.STOPPING: "It is being deleted or stopped, and something of it is still there.",
}

# Whose keys stand in the table already.
_SAME = {
    "containers": "The keys of a container, each with a name",
    "initContainers": "The keys of a container, each with a name",
    "probes.readiness": "Keys as of liveness",
    "probes.startup": "Keys as of liveness",
    "files[].secret": "Keys as in env",
}


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for f in model.model_fields.values():
        path = f"{prefix}{f.alias}"
        meaning = str(f.description)
        same = path in _SAME
        if same:
            meaning = f"{meaning} {_SAME[path]}."
        yield f"| `{path}` | {_default(f)} | {meaning} |"
        many = "[]" if "list" in str(f.annotation) else ""
        for inner in [] if same else _models(f.annotation):
            yield from _keys(inner, f"{path}{many}.")


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in _models(a)]


def _default(f: FieldInfo) -> str:
    value = f.default
    if f.is_required():
        return "required"
    if isinstance(value, BaseModel) or value in (None, [], {}, ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{format_duration(value).replace(' ', '')}`"
    return f"`{value.value if isinstance(value, StrEnum) else value}`"


def _all_models(model: type[BaseModel]) -> dict[type[BaseModel], str]:
    """The models in a model, each with the key that leads to it."""
    found = {model: ""}
    waiting = [model]
    for known in waiting:  # grows as it goes
        for f in known.model_fields.values():
            many = "[]" if "list" in str(f.annotation) else ""
            for inner in _models(f.annotation):
                if inner not in found:
                    found[inner] = f"{f.alias}{many}."
                    waiting.append(inner)
    return found


def _refused() -> Iterator[tuple[str, str]]:
    for model, where in _all_models(Deployment).items():
        for key, reason in getattr(model, "REFUSED", {}).items():
            yield f"{where}{key}", reason


def _ignored() -> Iterator[tuple[str, str]]:
    for model, where in _all_models(Deployment).items():
        for f in model.model_fields.values():
            for mark in f.metadata:
                if isinstance(mark, Ignored):
                    yield f"{where}{f.alias}", mark.reason


def _by_reason(pairs: Iterable[tuple[str, str]], title: str) -> str:
    keys: dict[str, list[str]] = {}
    for key, reason in dict.fromkeys(pairs):
        keys.setdefault(reason, []).append(f"`{key}`")
    rows = [f"| {', '.join(found)} | {reason} |" for reason, found in keys.items()]
    return "\n".join([f"| Key | {title} |", "| --- | --- |", *rows])


def _kinds() -> str:
    rows = [f"| `{kind}` | {instead} |" for kind, instead in INSTEAD.items()]
    return "\n".join(["| Kind | Instead |", "| --- | --- |", *rows])


def _not_yet() -> str:
    rows = [f"| `{'.'.join(map(str, p))}` | {why} |" for p, why in NOT_YET.items()]
    return "\n".join(["| Key | Meanwhile |", "| --- | --- |", *rows])


def _states() -> str:
    rows = [f"| **{state}** | {STATES[state]} |" for state in State]
    return "\n".join(["| State | Meaning |", "| --- | --- |", *rows])


SECTIONS: Mapping[str, Callable[[], str]] = {
    "workload-keys": lambda: "\n".join(
        ["| Key | Default | Meaning |", "| --- | --- | --- |", *_keys(WorkloadSpec)]
    ),
    "kubernetes-refused": lambda: _by_reason(_refused(), "Instead, or why"),
    "kubernetes-ignored": lambda: _by_reason(_ignored(), "Why"),
    "kinds-instead": _kinds,
    "not-yet": _not_yet,
    "workload-states": _states,
}
