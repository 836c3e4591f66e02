"""What the instances of this node depend on: what the master says of it, and what once held.

The rule is `core.workloads.dependency_rule`; this is its memory. What once held for an instance is
on the disk, and written only when that changes: a few times in the life of an instance.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from piccolo.core.errors import PiccoloError
from piccolo.core.workloads.dependency_rule import Known, waits_for
from piccolo.core.workloads.instances import DependencyState, Instance, InstanceStatus
from piccolo.core.workloads.workload import Dependency
from piccolo.security.files import read_private, write_private

log = logging.getLogger(__name__)

_AGAIN = 60.0  # s until a disk that did not take it is tried again


class Dependencies:
    """`statuses`: of all instances of this node, by key, as they are now."""

    def __init__(self, directory: Path, statuses: Mapping[str, InstanceStatus]) -> None:
        self._path = directory / "held-once"
        self._statuses = statuses
        self._told: dict[str, DependencyState] = {}
        self._connected = False
        self._once: dict[str, dict[str, list[str]]] = {}  # key → hash → what held
        self._news = asyncio.Event()

    def load(self) -> None:
        """Blocking. A file that cannot be read is none: the master, or this node, will know."""
        try:
            self._once = _parse(read_private(self._path) or "{}")
        except (PiccoloError, ValueError, TypeError, RecursionError) as error:
            log.warning("what dependencies once held is not known: %s", error)

    # ---- the master ----

    def told(self, states: Iterable[DependencyState], *, reset: bool) -> set[str]:
        """By the master, which has now said all. Returns the workloads that it is news of."""
        fresh = {**({} if reset else self._told), **{s.workload: s for s in states}}
        news = {w for w in {*fresh, *self._told} if fresh.get(w) != self._told.get(w)}
        self._told, self._connected = fresh, True
        return news

    def alone(self) -> None:
        """The master is away: what it said is history."""
        self._connected = False
        self._told = {}

    # ---- the instances ----

    def blocked(self, instance: Instance) -> str:
        """Why it must not start now: the first dependency that does not hold, and what is needed
        of it; empty: it may."""
        for dependency in instance.workload.depends_on:
            why = waits_for(dependency, self._known(instance, dependency))
            if why:
                return why
            self._remember(instance, dependency)
        return ""

    def _known(self, instance: Instance, dependency: Dependency) -> Known:
        name = dependency.workload
        here = tuple(s for s in self._statuses.values() if s.workload == name)
        return Known(
            self._connected,
            self._told.get(name),
            here or None,
            _word(dependency) in self._once.get(instance.key, {}).get(instance.hash, ()),
        )

    def _remember(self, instance: Instance, dependency: Dependency) -> None:
        word = _word(dependency)
        held = self._once.get(instance.key, {}).get(instance.hash, [])
        if word not in held:
            self._once[instance.key] = {instance.hash: [*held, word]}  # another hash is history
            self._news.set()

    def keep(self, keys: Collection[str]) -> None:
        """Only these instances are to run here any more."""
        for key in [k for k in self._once if k not in keys]:
            del self._once[key]
            self._news.set()

    # ---- the disk ----

    async def run(self) -> None:
        """Write what is new, for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            text = json.dumps(self._once)
            try:
                await asyncio.to_thread(write_private, self._path, text)
            except PiccoloError as error:
                log.warning("what dependencies once held is not kept: %s", error)
                await asyncio.sleep(_AGAIN)
                self._news.set()


def _word(dependency: Dependency) -> str:
    return f"{dependency.workload} {dependency.condition}"


def _parse(text: str) -> dict[str, dict[str, list[str]]]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is damaged")
    return {
        str(key): {str(hash_): [str(w) for w in words] for hash_, words in by_hash.items()}
        for key, by_hash in found.items()
        if isinstance(by_hash, dict)
    }
