"""WorkloadManager: what is declared to run, and every change to it (C2, C5).

Each request is worked out by a draft and written all or nothing, however large it is. One request
at a time: so what is checked over all workloads, such as circles of dependencies, still holds when
it is written. The keys are written on the condition that nobody else changed them, which only the
removal of what was deleted does: then the request begins again from what there is.

A document that says what is declared already writes nothing. Each change of a spec is a generation,
and the last ones are kept to go back to. Going back is a change as well: generations only grow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from piccolo.core.errors import Conflict, InvalidSpec, StaleGeneration
from piccolo.core.workloads.declared import Declared
from piccolo.core.workloads.workload import Action, Workload
from piccolo.master.clock import Clock
from piccolo.master.state_manager import StateManager
from piccolo.master.workloads.draft import Draft, ObjectChange

_ATTEMPTS = 5
_AGAIN = 0.05  # s, for news of the change to come


@dataclass(frozen=True, slots=True)
class Outcome:
    changes: tuple[ObjectChange, ...]
    declared: Mapping[str, Declared]  # all, as they are then
    changed: bool  # whether anything was, or would be, written
    revision: int  # of the store


class WorkloadManager:
    """All methods raise `Unavailable`; `dry_run`: nothing is written. `by`: "role:name"."""

    def __init__(self, state: StateManager, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._one = asyncio.Lock()

    async def apply(
        self,
        workloads: Iterable[Workload],
        actions: Iterable[Action],
        by: str,
        *,
        dry_run: bool = False,
    ) -> Outcome:
        """Declare all of `workloads`, then do the `actions`. Raises `InvalidSpec`, `Conflict`."""
        declared, acts = list(workloads), list(actions)

        def work(draft: Draft) -> None:
            for workload in declared:
                draft.put(workload)
            for action in acts:
                draft.act(action)

        return await self._carry_out(work, by, dry_run=dry_run)

    async def delete(
        self,
        names: Collection[str],
        by: str,
        *,
        cascade: bool = False,
        ignore_missing: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """Have them go, dependents first; they are there until all of their instances are gone.

        Raises `NotFound`, and `Conflict` when others depend on them, unless they go as well.
        """
        return await self._carry_out(
            lambda draft: draft.delete(names, cascade=cascade, ignore_missing=ignore_missing),
            by,
            dry_run=dry_run,
        )

    async def roll_back(self, name: str, by: str, *, to: int = 0, dry_run: bool = False) -> Outcome:
        """`to` 0: to the generation before the current one.

        Raises `NotFound`, `InvalidSpec`, `Conflict` while it is being deleted.
        """
        return await self._carry_out(lambda draft: draft.roll_back(name, to), by, dry_run=dry_run)

    async def restart(self, names: Collection[str], by: str) -> Outcome:
        """Have fresh containers in the place of those there are. Raises as `roll_back`."""

        def work(draft: Draft) -> None:
            if not names:
                raise InvalidSpec("name the workloads to restart")
            for name in dict.fromkeys(names):
                draft.restart(name)

        return await self._carry_out(work, by, dry_run=False)

    async def _carry_out(self, work: Callable[[Draft], None], by: str, *, dry_run: bool) -> Outcome:
        async with self._one:
            attempt = 0
            while True:
                attempt += 1
                draft = Draft(self._state, self._clock.utc(), by)
                work(draft)
                values = draft.values
                revision = self._state.revision
                try:
                    if values and not dry_run:
                        conditions = {key: self._state.revision_of(key) for key in values}
                        revision = await self._state.commit(values, conditions)
                except StaleGeneration:
                    raise
                except Conflict:
                    if attempt == _ATTEMPTS:
                        raise
                    await asyncio.sleep(_AGAIN)
                else:
                    return Outcome(draft.changes, draft.declared, bool(values), revision)
