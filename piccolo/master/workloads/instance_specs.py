"""Instances as they travel to their nodes: with their hash, and with the secrets that they need and
no others.

Each is made once and kept while it is asked for, because the bytes of a large one take time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from piccolo.core import plain
from piccolo.core.model import Secret
from piccolo.core.workloads.containers import SecretKey
from piccolo.core.workloads.declared import Assignment, Past
from piccolo.core.workloads.instances import Instance, Secrets, pod_hash, sync_digest
from piccolo.core.workloads.workload import Workload
from piccolo.master import keys
from piccolo.master.state_manager import StateManager

_Times = tuple[datetime, Mapping[str, datetime]]  # of the generation, and of each secret


@dataclass(frozen=True, slots=True)
class Spec:
    """An instance for an agent. The same for all nodes that have one of this key."""

    key: str
    workload: Workload
    data: bytes  # of the `Instance`
    secrets: Secrets = field(repr=False)
    digest: int
    times: _Times | None = None  # that the instance says


class InstanceSpecs:
    def __init__(self, state: StateManager) -> None:
        self._state = state
        self._made: dict[Assignment, Spec] = {}  # by what it is made for, on no node
        self._references: dict[str, tuple[Workload, tuple[SecretKey, ...]]] = {}

    def missing(self, workload: Workload) -> str:
        """Which of its secrets is not there, and what to do; "": all are."""
        for reference in self._references_of(workload):
            name, key = reference.secret, reference.key
            secret = self._state.get(keys.secret(name), Secret)
            if secret is None:
                return f'the secret "{name}" is missing: piccolo secret set {name} {key}=…'
            if key not in secret.data:
                return (
                    f'the secret "{name}" has no key "{key}"; `piccolo secret set --replace` sets'
                    " all keys anew"
                )
        return ""

    def blocked(self, workloads: Iterable[Workload]) -> dict[str, str]:
        """Those that lack a secret, by name, with what is to be done."""
        found = {w.name: self.missing(w) for w in workloads}
        return {name: why for name, why in found.items() if why}

    def of(self, assignment: Assignment) -> Spec | None:
        """None: it can no longer be told, because its spec or a secret of it is gone."""
        found = self._workload(assignment)
        if found is None:
            return None
        workload, changed_at = found
        secrets, secrets_at = self._secrets(workload)
        if secrets is None:
            return None
        key, with_ = _anywhere(assignment), (secrets, (changed_at, secrets_at))
        made = self._made.get(key)
        # A workload that was deleted and declared again begins with generation 1 again.
        if made is None or made.workload is not workload or (made.secrets, made.times) != with_:
            made = self._made[key] = _make(workload, assignment, *with_)
        return made

    def untold(self, assignments: Iterable[Assignment]) -> list[Assignment]:
        """Those of which `of` is None."""
        found = ((a, self._workload(a)) for a in assignments)
        return [a for a, known in found if known is None or self.missing(known[0])]

    def keep(self, assignments: Collection[Assignment], names: Collection[str]) -> None:
        """Forget what was made for others than these assignments and workloads, once there is much
        of it."""
        if len(self._made) <= 2 * len(assignments) and len(self._references) <= 2 * len(names):
            return
        wanted, known = set(map(_anywhere, assignments)), set(names)
        self._made = {k: made for k, made in self._made.items() if k in wanted}
        self._references = {n: found for n, found in self._references.items() if n in known}

    def _workload(self, assignment: Assignment) -> tuple[Workload, datetime] | None:
        """And when it was declared."""
        name, generation = assignment.workload, assignment.generation
        declared = self._state.workload(name)
        if declared is not None and declared.generation == generation:
            return declared.workload, declared.changed_at
        past = self._state.get(keys.past(name, generation), Past)
        return (past.workload, past.at) if past else None

    def _secrets(self, workload: Workload) -> tuple[Secrets | None, Mapping[str, datetime]]:
        """The values, unless one is missing, and when the secrets were set."""
        values: dict[str, str] = {}
        times: dict[str, datetime] = {}
        for reference in self._references_of(workload):
            secret = self._state.get(keys.secret(reference.secret), Secret)
            value = secret.data.get(reference.key) if secret else None
            if secret is None or value is None:
                return None, times
            values[f"{reference.secret}/{reference.key}"] = value
            times[reference.secret] = secret.changed_at
        return values, times

    def _references_of(self, workload: Workload) -> tuple[SecretKey, ...]:
        known = self._references.get(workload.name)
        if known is None or known[0] is not workload:
            known = self._references[workload.name] = workload, references(workload)
        return known[1]


def references(workload: Workload) -> tuple[SecretKey, ...]:
    """The values of secrets that it needs."""
    found: dict[SecretKey, None] = {}
    for container in (*workload.init_containers, *workload.containers):
        found |= dict.fromkeys(container.secret_env.values())
        found |= dict.fromkeys(f.secret for f in container.files if f.secret is not None)
    return tuple(found)


def _anywhere(assignment: Assignment) -> Assignment:
    a = assignment
    return Assignment(a.workload, a.index, "", a.generation, a.restarts)


def _make(workload: Workload, assignment: Assignment, secrets: Secrets, times: _Times) -> Spec:
    hash_ = pod_hash(workload, secrets, assignment.restarts)
    instance = Instance(workload, assignment.index, assignment.generation, hash_, *times)
    data, key = plain.encode(instance), instance.key
    return Spec(key, workload, data, secrets, sync_digest(key, data, secrets), times)
