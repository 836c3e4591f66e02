"""Specs of workloads, as the master sends them: as values, and as JSON in camelCase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from piccolo.core import plain
from piccolo.core.workloads.workload import Workload


def spec_of(text: str) -> Workload:
    """Raises `InvalidSpec` for what is none."""
    return plain.decode(Workload, text.encode(), "the spec that the master sent")


def spec_dict(value: object) -> Any:
    """Without what is at its default; in seconds, bytes and cores, whatever the document had."""
    if is_dataclass(value):
        kept = plain.to_plain(value)
        return {_camel(name): spec_dict(getattr(value, name)) for name in kept}
    if isinstance(value, Mapping):
        return {key: spec_dict(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [spec_dict(item) for item in value]
    return plain.to_plain(value)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))
