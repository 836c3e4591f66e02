"""The keys that the store is encrypted with: AES-256-GCM (NIST SP 800-38D), random nonces.

They lie in the file `pki/store.key` of the master's data directory, or in a systemd credential
(systemd.exec(5), LoadCredential=, LoadCredentialEncrypted=), which wins and is never written. The
file is text, so that a person can back it up: a key per line, newest first, the id before it.

A key's id is derived from the key, so a line with a slip of the pen in it is noticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.security.files import private_dir, read_private, write_private

FILE = "store.key"
CREDENTIAL = "piccolo-store-key"
KEY_BYTES = 32
NONCE_BYTES = 12
_HEAD = """\
# The keys of a PICCOLO master's store, newest first: ID KEY. Without them what is encrypted in the
# store is lost, so keep a copy of this file, apart from the copies of the store. Tell nobody.
"""


@dataclass(frozen=True, slots=True)
class _Key:
    id: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> _Key:
        return cls(hashlib.sha256(b"piccolo store key" + secret).digest()[:8], secret)

    def line(self) -> str:
        return f"{self.id.hex()} {base64.b64encode(self.secret).decode()}\n"


class KeyRing:
    """A `piccolo.store.seals.Sealer`. Made by `load`."""

    def __init__(self, keys: Sequence[_Key], path: Path | None, where: str) -> None:
        self._path = path  # None: not ours to write
        self._where = where
        self._keys: tuple[_Key, ...] = ()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._use(tuple(keys))

    @classmethod
    def load(cls, data_dir: Path, environ: Mapping[str, str]) -> KeyRing:
        """The keys there are; none where there is neither file nor credential.

        Raises `InvalidSpec` for what is damaged, or readable by others, `Unavailable`.
        """
        if directory := environ.get("CREDENTIALS_DIRECTORY"):
            path = Path(directory) / CREDENTIAL
            if path.exists():
                where = f"the systemd credential {CREDENTIAL}"
                return cls(_parse(_read_credential(path), where), None, where)
        path = private_dir(data_dir / "pki") / FILE
        text = read_private(path)
        return cls(() if text is None else _parse(text, str(path)), path, str(path))

    @property
    def where(self) -> str:
        return self._where

    @property
    def ids(self) -> Sequence[bytes]:
        return tuple(key.id for key in self._keys)

    def seal(self, id: bytes, context: bytes, value: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[id].encrypt(nonce, value, context)

    def open(self, id: bytes, context: bytes, data: bytes) -> bytes | None:
        cipher = self._ciphers.get(id)
        nonce, sealed = data[:NONCE_BYTES], data[NONCE_BYTES:]
        if cipher is None or len(nonce) < NONCE_BYTES:
            return None
        try:
            return cipher.decrypt(nonce, sealed, context)
        except InvalidTag:
            return None

    def renew(self) -> None:
        if self._path is None:
            raise InvalidSpec(
                f"{self._where} is not the master's to change. Put a new line before those that are"
                " in it (a key from: openssl rand -base64 32), restart the master, which encrypts"
                " everything with it, then remove the others"
            )
        self._save((_Key.of(secrets.token_bytes(KEY_BYTES)), *self._keys))

    def forget(self) -> bool:
        if self._path is None:
            return False
        self._save(self._keys[:1])
        return True

    def _save(self, keys: tuple[_Key, ...]) -> None:
        assert self._path is not None
        write_private(self._path, _HEAD + "".join(key.line() for key in keys))
        self._use(keys)

    def _use(self, keys: tuple[_Key, ...]) -> None:
        # Others may be sealing with what was there before, in another thread.
        self._ciphers |= {key.id: AESGCM(key.secret) for key in keys}
        self._keys = keys
        self._ciphers = {key.id: self._ciphers[key.id] for key in keys}


def _read_credential(path: Path) -> str:
    # Its mode is systemd's affair: an access control list may show as rights of a group.
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidSpec(f"the systemd credential {CREDENTIAL} is no text") from None
    except OSError as error:
        raise Unavailable(
            f"cannot read the systemd credential {CREDENTIAL}: {error.strerror}"
        ) from error


def _parse(text: str, where: str) -> list[_Key]:
    """Lines "ID KEY", or a KEY alone. No message shows what is in them."""
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            key = _Key.of(base64.b64decode(words[-1], validate=True))
        except (binascii.Error, ValueError):
            key = _Key(b"", b"")
        if len(key.secret) != KEY_BYTES or words[:-1] not in ([], [key.id.hex()]):
            raise InvalidSpec(
                f"{where}, line {number}: this is no store key, or it has a slip in it; restore it"
                " from a backup"
            )
        keys.append(key)
    if not keys:
        raise InvalidSpec(f"{where} has no store key in it: restore it from a backup")
    return keys
