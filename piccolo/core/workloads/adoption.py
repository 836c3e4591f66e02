"""What a node holds that is newer than a backup, and what becomes of it.

A master that was restored knows the world of an hour ago. Its agents know better: each has on its
disk what it is to run, with the times at which that was declared and its secrets were set. When a
node comes back for the first time, both are put together here.

What it guarantees:

* Of two specs of a workload, and of two values of a secret, the newer one stays, whoever had it:
  so it does not matter in which order the nodes come back, and to adopt twice changes nothing.
* What a node holds and the newest spec still asks for is assigned to it as it runs: nothing is
  restarted because of the backup.
* Generations only grow, and none gets another content than it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from piccolo.core.model import Secret, Severity
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.core.workloads.instances import Instance, Secrets, restarts_of

BY = "master"  # who declared what was adopted
CAUSE = "found on nodes by a rebuild"


@dataclass(frozen=True, slots=True)
class Held:
    """An instance on a node's disk, with the secrets that it needs and no others."""

    instance: Instance
    secrets: Secrets = field(repr=False)


@dataclass(frozen=True, slots=True)
class Known:
    """What the master knows, of all workloads and secrets that are held."""

    backup_at: datetime | None  # None: there was no backup
    restored_at: datetime
    declared: Mapping[str, Declared] = field(default_factory=dict)
    history: Mapping[str, Sequence[Past]] = field(default_factory=dict)
    assignments: Sequence[Assignment] = ()
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    returned: Set[str] = frozenset()  # ids of nodes that have told since the restore what they hold
    early: bool = True  # nothing was planned since the restore


@dataclass(frozen=True, slots=True)
class Note:
    """Something to tell people."""

    kind: str  # workload | secret
    name: str
    reason: str
    message: str
    severity: Severity = Severity.INFO


@dataclass(frozen=True, slots=True)
class Adoption:
    """What is to be written, and told."""

    declared: Mapping[str, Declared]
    past: Sequence[Past]
    assigned: Sequence[Assignment]
    retracted: Sequence[Assignment]  # of other nodes
    secrets: Mapping[str, Secret] = field(repr=False)
    notes: Sequence[Note] = ()


def adopt(known: Known, node_id: str, node_name: str, held: Iterable[Held]) -> Adoption:
    """`node_id` comes back with what differs from that which the master would have it run."""
    work = _Adopting(known, node_id, node_name)
    by_name: dict[str, list[Held]] = {}
    for one in held:
        by_name.setdefault(one.instance.workload.name, []).append(one)
    for name in sorted(by_name):
        work.workload(name, sorted(by_name[name], key=lambda h: h.instance.index))
    return work.outcome()


class _Adopting:
    def __init__(self, known: Known, node_id: str, node_name: str) -> None:
        self._known = known
        self._node_id = node_id
        self._node_name = node_name
        self._declared: dict[str, Declared] = {}
        self._past: dict[tuple[str, int], Past] = {}
        self._assigned: list[Assignment] = []
        self._retracted: list[Assignment] = []
        self._secrets: dict[str, Secret] = {}
        self._notes: list[Note] = []
        self._kept = {
            (name, past.generation): past for name, all in known.history.items() for past in all
        }
        self._copies: dict[tuple[str, int], list[Assignment]] = {}
        for a in known.assignments:
            self._copies.setdefault((a.workload, a.index), []).append(a)

    def outcome(self) -> Adoption:
        before = self._known.assignments
        return Adoption(
            {n: d for n, d in self._declared.items() if d != self._known.declared.get(n)},
            tuple(self._past.values()),
            tuple(a for a in self._assigned if a not in before),
            tuple(self._retracted),
            {n: s for n, s in self._secrets.items() if s != self._known.secrets.get(n)},
            tuple(self._notes),
        )

    def _note(
        self, reason: str, name: str, message: str, severity: Severity = Severity.INFO
    ) -> None:
        kind = "secret" if reason == "SecretAdopted" else "workload"
        self._notes.append(Note(kind, name, reason, message, severity))

    # ---- workloads ----

    def workload(self, name: str, copies: Sequence[Held]) -> None:
        old = self._known.declared.get(name)
        newest = max((h.instance for h in copies), key=lambda i: (self._at(i), i.generation))
        backup_at = self._known.backup_at
        if old is None and backup_at is not None and self._at(newest) <= backup_at:
            message = f"{self._node_name} still has what was deleted before the backup: it goes"
            self._note("NotAdopted", name, message)
            return
        found = self._created(newest) if old is None else self._merged(old, newest)
        restarts = max(restarts_of(h.instance.hash) for h in copies)
        if restarts > found.restarts:
            found = replace(found, restarts=restarts)
        self._declared[name] = found
        if found.active and found.deleting_since is None:
            for one in copies:
                if self._assign(found, one.instance):
                    self._take_secrets(one)

    def _at(self, instance: Instance) -> datetime:
        """When it was declared. An instance of an older master does not say: then its generation
        tells whether that was after the backup."""
        if instance.changed_at is not None:
            return instance.changed_at
        old = self._known.declared.get(instance.workload.name)
        if old is None:
            return self._known.restored_at
        if instance.generation == old.generation and instance.workload == old.workload:
            return old.changed_at
        newer = instance.generation >= old.generation
        return self._known.restored_at if newer else old.created_at

    def _created(self, newest: Instance) -> Declared:
        at, generation = self._at(newest), newest.generation
        message = f"{self._unknown}{self._node_name} has generation {generation}"
        self._note("WorkloadAdopted", newest.workload.name, message)
        return Declared(newest.workload, generation, at, at, BY, CAUSE)

    @property
    def _unknown(self) -> str:
        return "" if self._known.backup_at is None else "the backup does not know it, "

    @property
    def _before(self) -> str:
        """Who knew what the store has."""
        return "other nodes" if self._known.backup_at is None else "the backup"

    def _merged(self, old: Declared, newest: Instance) -> Declared:
        at = self._at(newest)
        found = replace(old, created_at=min(old.created_at, at))
        if at > old.changed_at:
            return self._replaced(found, newest, at)
        return self._above(found, newest, at)

    def _replaced(self, old: Declared, newest: Instance, at: datetime) -> Declared:
        """What the node has is newer."""
        generation = max(old.generation, newest.generation)
        # A generation that there is already cannot get another content.
        if newest.workload != old.workload and newest.generation <= old.generation:
            generation = old.generation + 1
        message = f"{self._node_name} has generation {newest.generation}"
        message += f", and {self._before} had {old.generation}"
        if generation != newest.generation:
            message += f": it is generation {generation} now"
        self._note("WorkloadAdopted", old.workload.name, message)
        return replace(
            self._numbered(old, generation),
            workload=newest.workload,
            changed_at=at,
            by=BY,
            cause=CAUSE,
            active=True,
            deleting_since=None,
        )

    def _above(self, old: Declared, newest: Instance, at: datetime) -> Declared:
        """What the master has is as new, or newer: also its generation must be."""
        name, generation = old.workload.name, max(old.generation, newest.generation)
        if newest.workload != old.workload and newest.generation >= old.generation:
            generation = newest.generation + 1
            message = (
                f"{self._node_name} has another generation {newest.generation}: what was asked for"
                f" last is generation {generation} now"
            )
            self._note("GenerationRaised", name, message)
        found = self._numbered(old, generation)
        if old.active or at < old.changed_at or not self._known.early:
            return found
        self._note("WorkloadAdopted", name, f"it was launched: {self._node_name} runs it")
        return replace(found, active=True)

    def _numbered(self, old: Declared, generation: int) -> Declared:
        """With this generation; the one before goes into the history."""
        if generation == old.generation:
            return old
        self._keep(Past(old.workload, old.generation, old.changed_at, old.by, old.cause))
        return replace(old, generation=generation)

    def _keep(self, past: Past) -> None:
        key = past.workload.name, past.generation
        if key not in self._kept:
            self._kept[key] = self._past[key] = past

    # ---- copies ----

    def _assign(self, now: Declared, held: Instance) -> bool:
        """Unless another node has told that it has this copy, in a generation as new."""
        mine, others = None, []
        for a in self._copies.get((now.workload.name, held.index), ()):
            if a.node_id == self._node_id:
                mine = a
            elif not now.workload.one_per_node:
                others.append(a)
        assignment = self._assignment(now, held, mine)
        for other in others:
            if other.node_id in self._known.returned and other.generation >= assignment.generation:
                message = f"{held.key} runs on another node by now: {self._node_name} ends it"
                self._note("NotAdopted", now.workload.name, message)
                if mine is not None:
                    self._retracted.append(mine)
                return False
        self._retracted += others
        self._assigned.append(assignment)
        return True

    def _assignment(self, now: Declared, held: Instance, mine: Assignment | None) -> Assignment:
        generation, restarts = held.generation, restarts_of(held.hash)
        if held.workload == now.workload:
            generation = now.generation  # its containers stay, whatever number it had
        elif mine is not None and mine.generation == now.generation:
            return mine  # it was decided already that it changes
        elif generation < now.generation:
            at = self._at(held)
            self._keep(Past(held.workload, generation, at, BY, CAUSE))
            if self._kept[held.workload.name, generation].workload != held.workload:
                generation = now.generation
        else:
            generation = now.generation
        return Assignment(held.workload.name, held.index, self._node_id, generation, restarts)

    # ---- secrets ----

    def _take_secrets(self, held: Held) -> None:
        values: dict[str, dict[str, str]] = {}
        for path, value in held.secrets.items():
            name, _, key = path.partition("/")
            values.setdefault(name, {})[key] = value
        for name, data in values.items():
            old = self._secrets.get(name) or self._known.secrets.get(name)
            new = self._merged_secret(name, old, data, held.instance.secrets_at.get(name))
            if new != old:
                self._secrets[name] = new

    def _merged_secret(
        self, name: str, old: Secret | None, data: Mapping[str, str], at: datetime | None
    ) -> Secret:
        known = self._known
        if old is None:
            self._note("SecretAdopted", name, f"{self._unknown}{self._node_name} has it")
            since = at or known.restored_at
            return Secret(name, data, since, since)
        if at is not None and at > old.changed_at:
            if any(old.data.get(k) != v for k, v in data.items()):
                message = f"{self._node_name} has a newer value than {self._before}"
                self._note("SecretAdopted", name, message)
            return replace(old, data={**old.data, **data}, changed_at=at)
        if old.changed_at > known.restored_at:
            return old  # who set it since the restore left out what it does not have
        missing = {k: v for k, v in data.items() if k not in old.data}
        return replace(old, data={**old.data, **missing}) if missing else old
