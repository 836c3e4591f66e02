"""One value as it is stored: which ones are encrypted, in what form, and how they are read.

A sealed value begins with a byte that no text in UTF-8 contains, so that it cannot be taken for
JSON; it says which key sealed it, and it is bound to its path, so that it cannot be moved to
another. A plain value that happens to begin with that byte is sealed as well.

    0xFF | version (1 byte) | id of the key (8) | what the `Sealer` made of the value
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from piccolo.core.errors import InvalidSpec
from piccolo.store.base import Entry, Put
from piccolo.store.rules import key_bytes

SECRETS = "secret/"
TAG, VERSION = 0xFF, 1
ID_BYTES = 8
HEADER_BYTES = 2 + ID_BYTES


def key_id(data: bytes) -> bytes | None:
    """Which key a value was sealed with; None: it is plain."""
    return data[2:HEADER_BYTES] if data[:1] == bytes([TAG]) else None


class Sealer(Protocol):
    """Encrypts, with authentication; has one key that seals and maybe older ones that open."""

    @property
    def where(self) -> str:
        """Where its keys lie, for people."""
        ...

    @property
    def ids(self) -> Sequence[bytes]:
        """Its keys, of `ID_BYTES` each; the first one seals. Empty: it has none yet."""
        ...

    def seal(self, id: bytes, context: bytes, value: bytes) -> bytes: ...

    def open(self, id: bytes, context: bytes, data: bytes) -> bytes | None:
        """None: it was not sealed by this key in this context, or it was tampered with."""
        ...

    def renew(self) -> None:
        """Make a new key that seals from now on. Durable when it returns.

        Raises `InvalidSpec` when the keys are not in its hands, `Unavailable`.
        """
        ...

    def forget(self) -> bool:
        """Keep only the key that seals. Durable. False: that is not in its hands."""
        ...


class Seals:
    """A policy, and the keys to carry it out: below `SECRETS` always, with `everything` all."""

    def __init__(self, sealer: Sealer, *, everything: bool) -> None:
        self._sealer = sealer
        self.everything = everything
        self.strict = False  # no value may be plain any more that must not be

    def _must_be_sealed(self, key: str, value: bytes) -> bool:
        return self.everything or key.startswith(SECRETS) or value[:1] == bytes([TAG])

    def put(self, put: Put, id: bytes) -> Put:
        """As it is to be stored, sealed with the key `id` where it must be."""
        if not self._must_be_sealed(put.key, put.value):
            return put
        header = bytes([TAG, VERSION]) + id
        sealed = header + self._sealer.seal(id, header + key_bytes(put.key), put.value)
        return Put(put.key, sealed, wrapping=len(sealed) - len(put.value))

    def entry(self, entry: Entry) -> Entry:
        return Entry(entry.key, self.opened(entry.key, entry.value), entry.revision)

    def opened(self, key: str, data: bytes) -> bytes:
        """The plain value. Raises `InvalidSpec` naming the key path."""
        id = key_id(data)
        if id is None:
            if key.startswith(SECRETS) or (self.strict and self.everything):
                raise InvalidSpec(
                    f'what the store holds under "{key}" is not encrypted, though it must be:'
                    " somebody wrote it who has no key; restore it from a backup, or delete it"
                )
            return data
        if data[1:2] > bytes([VERSION]):
            raise InvalidSpec(
                f'what the store holds under "{key}" was encrypted by a newer PICCOLO: upgrade'
                " this one"
            )
        if len(id) == ID_BYTES and id not in self._sealer.ids:
            raise InvalidSpec(self._missing(id, key, 1))
        header, sealed = data[:HEADER_BYTES], data[HEADER_BYTES:]
        value = self._sealer.open(id, header + key_bytes(key), sealed)
        if value is None:
            raise InvalidSpec(
                f'what the store holds under "{key}" was tampered with, or is damaged: restore it'
                " from a backup, or delete it"
            )
        return value

    def is_in_line(self, key: str, data: bytes) -> bool:
        """Whether it is stored as the policy and the newest key demand."""
        id = key_id(data)
        if id is None:
            return not self._must_be_sealed(key, data)
        return id == self._sealer.ids[0] and (
            self._must_be_sealed(key, b"") or self._must_be_sealed(key, self.opened(key, data))
        )

    def refuse_strange(self, entries: Iterable[Entry]) -> None:
        """Raises `InvalidSpec` when there are values of keys that we do not have."""
        sealed = [e for e in entries if e.value[:2] == bytes([TAG, VERSION])]
        strange = [(e.value[2:HEADER_BYTES], e.key) for e in sealed if len(e.value) > HEADER_BYTES]
        strange = [(id, key) for id, key in strange if id not in self._sealer.ids]
        if strange:
            raise InvalidSpec(self._missing(*strange[0], len(strange)))

    def _missing(self, id: bytes, key: str, count: int) -> str:
        have = (
            f"only {', '.join(i.hex() for i in self._sealer.ids)}" if self._sealer.ids else "none"
        )
        others = f" and {count - 1} others" if count > 1 else ""
        return (
            f'what the store holds under "{key}"{others} needs the store key {id.hex()}, and'
            f" {self._sealer.where} has {have}: put its line back there, from a backup; without"
            " it these values are lost"
        )
