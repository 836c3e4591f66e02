"""What people ask of the simulated cluster, at random: worked out by the real drafts."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from piccolo.core.errors import Conflict, PiccoloError, Unavailable
from piccolo.core.model import Secret
from piccolo.core.workloads.declared import Declared
from piccolo.core.workloads.workload import Workload
from piccolo.master import keys
from piccolo.master.state_manager import StateManager
from piccolo.master.workloads.draft import Draft
from tests.simulation.pure.master import Master
from tests.simulation.wishes import SECRETS, ZONES, Wishes, short

_ATTEMPTS = 5


class People:
    """`note` is told what they ask, and what came of it."""

    def __init__(
        self, rng: random.Random, names: int, nodes: list[str], note: Callable[[str], None]
    ) -> None:
        self.promised: dict[str, Workload | None] = {}  # None: it was deleted
        self._rng = rng
        self._nodes = nodes
        self._wishes = Wishes(rng, names, nodes)
        self._note = note
        self._at: Master | None = None  # whom they ask
        self._waiting: deque[Callable[[], None]] = deque()  # the first is under way

    def ask(self, master: Master) -> None:
        rng, wishes = self._rng, self._wishes
        name, what = rng.choice(wishes.names), wishes.verb()
        known = master.record.workload(name)
        if what == "secret":
            self._secret(master)
        elif what == "label":
            self._label(master)
        elif known is None or what == "apply":
            self._apply(master, [wishes.workload(n) for n in wishes.some(name)])
        elif what == "delete":
            cascade = rng.random() < 0.7
            self._carry_out(
                master,
                f"delete {name}",
                lambda draft: draft.delete([name], cascade=cascade, ignore_missing=False),
            )
        elif what == "restart":
            self._carry_out(master, f"restart {name}", lambda draft: draft.restart(name))
        elif what == "rollback":
            self._carry_out(master, f"rollback {name}", lambda draft: draft.roll_back(name))
        else:
            self._apply(master, [wishes.changed(known.workload, what)])

    def _apply(self, master: Master, workloads: list[Workload]) -> None:
        def work(draft: Draft) -> None:
            for workload in workloads:
                draft.put(workload)

        text = " | ".join(f"{w.name}: {short(w)}" for w in workloads)
        self._carry_out(master, f"apply {text}", work)

    def _carry_out(self, master: Master, what: str, work: Callable[[Draft], None]) -> None:
        """One request at a time, as the master does it."""
        if self._at is not master:  # what waited for the one before was never begun
            self._at, self._waiting = master, deque()
        self._waiting.append(lambda: self._begin(master, what, work, 1))
        if len(self._waiting) == 1:
            self._waiting[0]()

    def _next(self) -> None:
        self._waiting.popleft()
        if self._waiting:
            self._waiting[0]()

    def _begin(
        self, master: Master, what: str, work: Callable[[Draft], None], attempt: int
    ) -> None:
        """While it is not known whether it was done, nothing is promised of what it changes: which
        is known only now, because requests before it were under way when it was asked."""
        draft = Draft(cast(StateManager, master.record), master.clock.utc(), "user:x")
        try:
            work(draft)
            values = draft.values
        except PiccoloError as error:
            self._note(f"people: {what}: {error}")
            self._next()
            return
        asked = {change.name: _promise(draft.declared[change.name]) for change in draft.changes}
        in_doubt = [n for n, w in asked.items() if n in self.promised and self.promised[n] != w]
        before = {n: self.promised.pop(n) for n in in_doubt}

        def done(error: PiccoloError | None) -> None:
            if isinstance(error, Conflict) and attempt < _ATTEMPTS:
                self.promised |= before
                self._begin(master, what, work, attempt + 1)
                return
            if not isinstance(error, Unavailable):
                self.promised |= before
            if error is None:
                self.promised |= asked
            self._note(f"people: {what}{f': {error}' if error else ''}")
            self._next()

        if values:
            conditions = {key: master.record.revision_of(key) for key in values}
            master.commit(values, conditions, done)
        else:
            done(None)

    def _secret(self, master: Master) -> None:
        name, value = self._rng.choice(SECRETS), self._rng.randbytes(2).hex()
        gone = self._rng.random() < 0.15
        now = master.clock.utc()
        secret = None if gone else Secret(name, {"key": value}, now, now)
        self._note(f"people: {'delete' if gone else 'change'} the secret {name}")
        master.commit({keys.secret(name): secret}, {}, lambda error: None)

    def _label(self, master: Master) -> None:
        name, zone = self._rng.choice(self._nodes), self._rng.choice(ZONES)
        node = replace(master.node(f"id-{name}"), labels={"zone": zone})
        self._note(f"people: label {name} zone={zone}")
        master.commit({keys.node(node.id): node}, {}, lambda error: None)


def _promise(declared: Declared) -> Workload | None:
    return declared.workload if declared.deleting_since is None else None
