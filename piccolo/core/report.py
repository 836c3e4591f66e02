"""What an agent has told the master, kept alike on both sides.

The agent sends deltas; the master applies them. Each heartbeat carries a digest of all that was
told; when the master's own digest differs, a piece was lost, and it asks for a snapshot. The
digest is the XOR of one 64-bit hash per object, so that a change costs one hash, not all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Generic, TypeVar

from piccolo.core.model import Container
from piccolo.core.workloads.instances import InstanceStatus

T = TypeVar("T")


def _hash(*parts: str) -> int:
    text = "\0".join(parts)
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def _time(time: datetime | None) -> str:
    return f"{time.timestamp():.3f}" if time else ""


def _container(c: Container) -> int:
    return _hash(
        c.id,
        c.name,
        c.image,
        c.state,
        c.health,
        str(c.exit_code),
        str(c.restarts),
        c.pod,
        *map(_time, (c.created_at, c.started_at, c.finished_at)),
        *(f"{k}={v}" for k, v in sorted(c.labels.items())),
    )


def _instance(s: InstanceStatus) -> int:
    return _hash(
        s.key,
        str(s.generation),
        s.phase,
        str(s.ready),
        s.reason,
        s.message,
        str(s.restarts),
        str(s.exit_code),
        _time(s.since),
        s.hash,
    )


@dataclass(frozen=True, slots=True)
class Delta:
    """What is new or changed, and the ids of containers and keys of instances that are gone."""

    changed: tuple[Container, ...] = ()
    removed: tuple[str, ...] = ()
    instances: tuple[InstanceStatus, ...] = ()
    removed_instances: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.instances or self.removed_instances)


class _Ledger(Generic[T]):
    """Objects by id, with their digest."""

    __slots__ = ("_hash", "_hashes", "digest", "items")

    def __init__(self, hash_: Callable[[T], int]) -> None:
        self._hash = hash_
        self._hashes: dict[str, int] = {}
        self.items: dict[str, T] = {}
        self.digest = 0

    def put(self, id: str, item: T) -> None:
        self.digest ^= self._hashes.get(id, 0)
        self.items[id] = item
        self._hashes[id] = new = self._hash(item)
        self.digest ^= new

    def remove(self, id: str) -> None:
        self.digest ^= self._hashes.pop(id, 0)
        self.items.pop(id, None)


class Report:
    """The containers and the instances of one node, as reported."""

    __slots__ = ("_containers", "_instances")

    def __init__(
        self,
        containers: Iterable[Container] = (),
        instances: Iterable[InstanceStatus] = (),
    ) -> None:
        self._containers = _Ledger(_container)
        self._instances = _Ledger(_instance)
        self.apply(Delta(changed=tuple(containers), instances=tuple(instances)))

    @property
    def containers(self) -> Mapping[str, Container]:
        return self._containers.items

    @property
    def instances(self) -> Mapping[str, InstanceStatus]:
        """By key."""
        return self._instances.items

    @property
    def digest(self) -> int:
        return self._containers.digest ^ self._instances.digest

    def apply(self, delta: Delta) -> None:
        """Idempotent: what is already so stays so."""
        for container in delta.changed:
            self._containers.put(container.id, container)
        for container_id in delta.removed:
            self._containers.remove(container_id)
        for instance in delta.instances:
            self._instances.put(instance.key, instance)
        for key in delta.removed_instances:
            self._instances.remove(key)

    def difference(self, seen: Iterable[Container]) -> Delta:
        """What to apply to make the containers equal to `seen`, all of the node."""
        seen_by_id = {c.id: c for c in seen}
        return Delta(
            tuple(c for i, c in seen_by_id.items() if self.containers.get(i) != c),
            tuple(i for i in self.containers if i not in seen_by_id),
        )

    def difference_of(self, ids: Iterable[str], seen: Iterable[Container]) -> Delta:
        """The same when only the containers `ids` were looked at."""
        seen_by_id = {c.id: c for c in seen}
        return Delta(
            tuple(c for i, c in seen_by_id.items() if self.containers.get(i) != c),
            tuple(i for i in ids if i not in seen_by_id and i in self.containers),
        )

    def instance_difference(self, seen: Iterable[InstanceStatus]) -> Delta:
        """What to apply to make the instances equal to `seen`, all of the node."""
        seen_by_key = {s.key: s for s in seen}
        return Delta(
            instances=tuple(s for k, s in seen_by_key.items() if self.instances.get(k) != s),
            removed_instances=tuple(k for k in self.instances if k not in seen_by_key),
        )
