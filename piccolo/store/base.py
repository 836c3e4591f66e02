"""The store: keys and values with revisions, transactions and watches.

The model is etcd's, cut to what PICCOLO needs: every successful transaction that changes anything
gets the next revision of the whole store; an entry carries the revision that last changed it;
a watch delivers every change after a revision, in order, each once.

Guarantees, checked for every engine by `tests/store/contract.py`:

* A commit that returned is durable: it survives `kill -9` and power loss.
* A commit that raised `Conflict` changed nothing. One that raised `Unavailable` is wholly there
  or not at all, and the caller cannot know which.
* Revisions never go back.
* One holder: opening a store that another master holds raises `Conflict`.

Values are bytes; what they mean is the business of `piccolo.store.codec`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it stands. `revision` is the store's when this key was last written."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All entries of a prefix at one `revision`, in the order of their keys."""

    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    wrapping: int = 0  # bytes of `value` that a layer above the engine added: not limited


@dataclass(frozen=True, slots=True)
class Delete:
    """Deleting a key that is not there is no error."""

    key: str


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class Condition:
    """`key` must have been last written at `revision`; 0: it must not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """One key's change, as a watch delivers it. `value` None: deleted."""

    key: str
    value: bytes | None
    revision: int


class Store(Protocol):
    """See the module's docstring for the guarantees. All methods may raise `Unavailable`."""

    async def get(self, key: str) -> Entry | None: ...

    async def list(self, prefix: str) -> Snapshot: ...

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        """Carry out all `operations` if all `conditions` hold, else none.

        Returns the revision after it. Raises `Conflict` when a condition fails, naming the key;
        `InvalidSpec` when two operations name one key or a key or value is over the limits.
        """
        ...

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        """Every change below `prefix` with a revision greater than `after`, for ever.

        Resumes by itself after a lost connection, without gap or repetition. Raises `Compacted`
        when changes after `after` are no longer kept: list again and watch from there.
        Close it with `aclose()`.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget the history up to and including `revision`; entries themselves stay."""
        ...

    async def scrub(self) -> str:
        """Remove what was deleted or replaced, and the history with it, from the store's files.

        Returns what is left to be done by hand, for people; "": nothing. What a file system or a
        flash memory keeps of its own accord is out of a store's reach.
        """
        ...

    async def close(self) -> None:
        """Let go of the store, and of the right to be its holder. Idempotent."""
        ...


MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 1_000_000  # etcd refuses requests over 1.5 MiB by default
MAX_OPERATIONS = 128  # etcd's default limit of one transaction
