"""What a request makes of the declared workloads, worked out before anything is written.

A draft begins with what is declared now; each method changes it as one document, action or command
asks. In the end it says what is to be written, and what to tell people.
Methods raise `InvalidSpec`, `NotFound` or `Conflict`; then the draft is thrown away as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from piccolo.core import words
from piccolo.core.errors import Conflict, InvalidSpec, NotFound
from piccolo.core.workloads.declared import Declared, Past
from piccolo.core.workloads.dependencies import dependents_of, find_cycles
from piccolo.core.workloads.workload import Action, ActionKind, Workload
from piccolo.master import keys
from piccolo.master.state_manager import StateManager
from piccolo.store import codec

KEPT = 10  # generations of a workload before its current one
MAX_SPEC_BYTES = 512 * 1024  # of a workload as it is stored
_NAMED = 20  # names in a message, at most


class What(StrEnum):
    """What became of an object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    LAUNCHED = "launched"
    TERMINATED = "terminated"
    ROLLED_BACK = "rolled back"
    RESTARTED = "restarted"


@dataclass(frozen=True, slots=True)
class ObjectChange:
    kind: str  # Workload | Scenario
    name: str
    what: What
    generation: int = 0
    before: Workload | None = None
    after: Workload | None = None


class Draft:
    def __init__(self, state: StateManager, now: datetime, by: str) -> None:
        self._state = state
        self._now = now
        self._by = by
        self._before = state.declared()
        self.declared = dict(self._before)
        self._history: dict[str, list[Past]] = {}  # of those whose spec changes
        self._changes: dict[tuple[str, str], ObjectChange] = {}

    # ---- what is asked ----

    def put(self, workload: Workload, cause: str = "apply") -> None:
        """A document: nothing happens when it says what is declared already."""
        name = workload.name
        old = self.declared.get(name)
        if old is None:
            active = not workload.held
            self._set(Declared(workload, 1, self._now, self._now, self._by, cause, active))
            self._tell(name, What.CREATED)
        elif old.deleting_since is not None:  # it comes back
            self._renew(old, workload, cause, active=not workload.held)
            self._tell(name, What.CREATED)
        elif old.workload != workload:
            self._renew(old, workload, cause, active=old.active or not workload.held)
            self._tell(name, What.CHANGED)
        else:
            self._tell(name, What.UNCHANGED)

    def act(self, action: Action) -> None:
        """Once, upon all workloads of the package."""
        members = [d for d in self._staying() if d.workload.package == action.package]
        if not members:
            packages = {d.workload.package for d in self._staying()} - {""}
            raise InvalidSpec(
                f'Scenario {action.name}: there is no Package "{action.package}"'
                f"{words.suggest(action.package, packages) or _there_are(packages)}"
            )
        if action.kind is ActionKind.ROLLBACK:
            what = self._roll_back_all(action, members)
        else:
            active = action.kind is not ActionKind.TERMINATE
            what = What.LAUNCHED if active else What.TERMINATED
            switched = [d for d in members if d.active is not active]
            for d in switched:
                self._set(replace(d, active=active))
                self._tell(d.workload.name, what)
            what = what if switched else What.UNCHANGED
        self._changes["Scenario", action.name] = ObjectChange("Scenario", action.name, what)

    def _roll_back_all(self, action: Action, members: list[Declared]) -> What:
        able = [d for d in members if self.history(d.workload.name)]
        if not able:
            raise InvalidSpec(
                f'Scenario {action.name}: no workload of the Package "{action.package}" has an'
                " earlier generation"
            )
        for d in able:
            self.roll_back(d.workload.name)
        return What.ROLLED_BACK

    def roll_back(self, name: str, to: int = 0) -> None:
        """To the content of generation `to`, or of the one before the current: as a new one."""
        old = self._find(name)
        if old.deleting_since is not None:
            raise Conflict(f'"{name}" is being deleted: apply its document to have it back')
        kept = {past.generation: past for past in self.history(name)}
        if not kept:
            raise InvalidSpec(f'"{name}" has no earlier generation: {old.generation} is the first')
        if to == old.generation:
            raise InvalidSpec(f'generation {to} is the current one of "{name}"')
        past = kept.get(to or max(kept))
        if past is None:
            known = ", ".join(map(str, kept))
            raise NotFound(f'generation {to} of "{name}" is not kept; there are {known}')
        if past.workload == old.workload:
            self._tell(name, What.UNCHANGED)
            return
        self._renew(old, past.workload, f"rollback to {past.generation}", active=old.active)
        self._tell(name, What.ROLLED_BACK)

    def restart(self, name: str) -> None:
        old = self._find(name)
        if old.deleting_since is not None:
            raise Conflict(f'"{name}" is being deleted: apply its document to have it back')
        if not old.active:
            raise InvalidSpec(
                f'"{name}" does not run: apply a Scenario that launches its Package'
                f" {old.workload.package}"
            )
        self._set(replace(old, restarts=old.restarts + 1))
        self._tell(name, What.RESTARTED)

    def delete(self, names: Iterable[str], *, cascade: bool, ignore_missing: bool) -> None:
        """All of them, and with `cascade` what depends on them, directly or not."""
        going = [n for n in dict.fromkeys(names) if n in self.declared or not ignore_missing]
        for name in going:
            self._find(name)
        staying = {d.workload.name: d for d in self._staying()}
        if dependents := sorted(dependents_of(going, staying)):
            if not cascade:
                raise Conflict(
                    f"{words.some(dependents, _NAMED)} would wait for"
                    f" {words.some(going, _NAMED)} for ever: name"
                    f" {'it' if len(dependents) == 1 else 'them'} too, or add --cascade"
                )
            going += dependents
        for name in going:
            old = self._find(name)
            if old.deleting_since is None:
                self._set(replace(old, deleting_since=self._now))
            self._tell(name, What.DELETED)

    # ---- what comes of it ----

    @property
    def changes(self) -> tuple[ObjectChange, ...]:
        """Of each object that was asked about, and of each that something was done to."""
        return tuple(self._changes.values())

    @property
    def values(self) -> Mapping[str, object | None]:
        """What is to be written. Raises `InvalidSpec` for what could never run or be kept."""
        changed = {n: d for n, d in self.declared.items() if self._before.get(n) is not d}
        self._check_cycles(changed)
        values: dict[str, object | None] = {}
        for name, d in changed.items():
            if (size := len(codec.encode(d.workload))) > MAX_SPEC_BYTES:
                raise InvalidSpec(
                    f'"{name}" has {size >> 10} KiB, at most {MAX_SPEC_BYTES >> 10} are possible:'
                    " put large files into the image or a volume"
                )
            values[keys.workload(name)] = d
        for name, history in self._history.items():
            kept = {past.generation: past for past in history[-KEPT:]}
            stored = {past.generation for past in self._state.history(name)}
            for generation in sorted(stored | set(kept)):
                if (generation in kept) != (generation in stored):
                    values[keys.past(name, generation)] = kept.get(generation)
        return values

    def history(self, name: str) -> list[Past]:
        """Oldest first, without the current generation."""
        return self._history.get(name) or self._state.history(name)

    def _check_cycles(self, changed: Mapping[str, Declared]) -> None:
        if not changed:
            return
        graph = {
            d.workload.name: [needed.workload for needed in d.workload.depends_on]
            for d in self._staying()
        }
        for cycle in find_cycles(graph):
            if not changed.keys().isdisjoint(cycle):
                way = " → ".join((*cycle, cycle[0]))
                raise InvalidSpec(f"none of these could ever start: {way}")

    def _staying(self) -> list[Declared]:
        return [d for d in self.declared.values() if d.deleting_since is None]

    def _find(self, name: str) -> Declared:
        found = self.declared.get(name)
        if found is None:
            near = words.suggest(name, self.declared) or _there_are(self.declared)
            raise NotFound(f'there is no workload "{name}"{near}')
        return found

    def _renew(self, old: Declared, workload: Workload, cause: str, *, active: bool) -> None:
        """The next generation; the one before goes into the history."""
        name = workload.name
        past = Past(old.workload, old.generation, old.changed_at, old.by, old.cause)
        self._history[name] = [*self.history(name), past]
        self._set(
            replace(
                old,
                workload=workload,
                generation=old.generation + 1,
                changed_at=self._now,
                by=self._by,
                cause=cause,
                active=active,
                deleting_since=None,
            )
        )

    def _set(self, declared: Declared) -> None:
        self.declared[declared.workload.name] = declared

    def _tell(self, name: str, what: What) -> None:
        """Of several things done to it, the first that changed something is told."""
        told = self._changes.get(("Workload", name))
        if told is not None and told.what is not What.UNCHANGED:
            what = told.what
        before, after = self._before.get(name), self.declared[name]
        self._changes["Workload", name] = ObjectChange(
            "Workload",
            name,
            what,
            after.generation,
            before.workload if before else None,
            after.workload,
        )


def _there_are(names: Collection[str]) -> str:
    return f"; there are {words.some(sorted(names), _NAMED)}" if names else "; there are none"
