"""The typed objects behind `StateManager`, by key: a group is found without looking at the others.

`node/ID` is of the group `node/`, `container/ID/CONTAINER` of `container/ID/`, which is below
`container/`. A group without objects takes no memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from piccolo.master.keys import group_of

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Objects:
    def __init__(self) -> None:
        self._groups: dict[str, dict[str, Any]] = {}
        self._below: dict[str, set[str]] = defaultdict(set)  # groups, by the first part of them

    def put(self, key: str, value: object) -> None:
        group = group_of(key)
        if group not in self._groups:
            self._groups[group] = {}
            self._below[_first_of(group)].add(group)
        self._groups[group][key] = value

    def remove(self, key: str) -> None:
        group = group_of(key)
        found = self._groups.get(group, {})
        found.pop(key, None)
        if not found and group in self._groups:
            del self._groups[group]
            self._below[_first_of(group)].discard(group)

    def get(self, key: str) -> Any:
        """None: it is not there."""
        return self.group(group_of(key)).get(key)

    def __contains__(self, key: str) -> bool:
        return key in self.group(group_of(key))

    def __iter__(self) -> Iterator[str]:
        """All keys, in no order."""
        for group in self._groups.values():
            yield from group

    def group(self, name: str) -> Mapping[str, Any]:
        """By key, what is in it and not below. Not to be kept: it may be another one later."""
        return self._groups.get(name, _NOTHING)

    def below(self, name: str) -> list[tuple[str, Any]]:
        """With their keys, what is in the group and all below, in no order."""
        groups = [f for f in self._below.get(_first_of(name), ()) if f.startswith(name)]
        return [item for group in groups for item in self._groups[group].items()]


def _first_of(group: str) -> str:
    return group[: group.find("/") + 1]
