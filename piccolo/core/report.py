"""What an agent has told the master, kept alike on both sides.

The agent sends deltas; the master applies them. Each heartbeat carries a digest of all that was
told; when the master's own digest differs, a piece was lost, and it asks for a snapshot. The
digest is the XOR of one 64-bit hash per container, so that a change costs one hash, not all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from piccolo.core.model import Container


def _hash(container: Container) -> int:
    c = container
    times = (c.created_at, c.started_at, c.finished_at)
    text = "\0".join(
        (
            c.id,
            c.name,
            c.image,
            c.state,
            c.health,
            str(c.exit_code),
            str(c.restarts),
            c.pod,
            *(f"{t.timestamp():.3f}" if t else "" for t in times),
            *(f"{k}={v}" for k, v in sorted(c.labels.items())),
        )
    )
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


@dataclass(frozen=True, slots=True)
class Delta:
    """Containers that are new or changed, and the ids of those that are gone."""

    changed: tuple[Container, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


class Report:
    """The containers of one node, as reported."""

    __slots__ = ("_containers", "_hashes", "digest")

    def __init__(self, containers: Iterable[Container] = ()) -> None:
        self._containers: dict[str, Container] = {}
        self._hashes: dict[str, int] = {}
        self.digest = 0
        self.apply(Delta(changed=tuple(containers)))

    @property
    def containers(self) -> Mapping[str, Container]:
        return self._containers

    def apply(self, delta: Delta) -> None:
        """Idempotent: what is already so stays so."""
        for container in delta.changed:
            self.digest ^= self._hashes.get(container.id, 0)
            self._containers[container.id] = container
            self._hashes[container.id] = new = _hash(container)
            self.digest ^= new
        for container_id in delta.removed:
            self.digest ^= self._hashes.pop(container_id, 0)
            self._containers.pop(container_id, None)

    def difference(self, seen: Iterable[Container]) -> Delta:
        """What to apply to make this report equal to `seen`, all containers of the node."""
        seen_by_id = {c.id: c for c in seen}
        return Delta(
            tuple(c for i, c in seen_by_id.items() if self._containers.get(i) != c),
            tuple(i for i in self._containers if i not in seen_by_id),
        )

    def difference_of(self, ids: Iterable[str], seen: Iterable[Container]) -> Delta:
        """The same when only the containers `ids` were looked at."""
        seen_by_id = {c.id: c for c in seen}
        return Delta(
            tuple(c for i, c in seen_by_id.items() if self._containers.get(i) != c),
            tuple(i for i in ids if i not in seen_by_id and i in self._containers),
        )
