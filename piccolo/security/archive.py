"""One encrypted file from a passphrase: what leaves the machine in it can be kept anywhere.

    PICCOLO BACKUP 1\\n
    {"kdf": {…}, …}\\n                what anybody may read: JSON
    SHA-256\\n                        of both lines and the first frame, in hex
    frame, frame, …, last frame      length (4 bytes, the highest bit: the last one) | sealed

The key is derived from the passphrase by scrypt (RFC 7914) with a salt of the file's own. Frames
are sealed by AES-256-GCM as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance"): the nonce is the frame's number
and whether it is the last one, and the first two lines are associated data of each. So no frame can
be changed, left out, moved or taken from another file, neither of these lines either, and an end
that is missing is noticed. The first frame is empty: it proves the passphrase. The third line is
against accidents only: it tells damage before that point from a wrong passphrase.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from piccolo.core.errors import InvalidSpec, PermissionDenied, Unavailable

FORMAT = 1
FRAME = 64 << 10  # bytes of what is in it
MAGIC = b"PICCOLO BACKUP "
LONGEST_FIRST, MAX_LINE = 32, 64 << 10  # bytes of the first line, and of the second one
SHORTEST_PASSPHRASE, LONGEST_PASSPHRASE = 12, 1024  # characters
_TAG, _SALT = 16, 16  # bytes
_LAST = 1 << 31
_CUT_OFF = (
    "this backup is cut off: its end is missing, as after a copy that did not finish; take another"
    " copy of it"
)
_DAMAGED_HEAD = "this backup is damaged at its beginning: take another copy of it"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of scrypt: it needs 128·n·r bytes, and time for p times as much."""

    n: int = 1 << 15  # 32 MiB: a master is a small machine
    r: int = 8
    p: int = 3

    def fits(self) -> bool:
        """Whether a file may ask that much of us: it is not to be trusted yet."""
        if not (1 < self.n <= 1 << 17 and 1 <= self.r <= 8 and 1 <= self.p <= 4):
            return False
        return not self.n & (self.n - 1) and self.n < 1 << 16 * self.r  # RFC 7914, 2


def check_passphrase(text: str) -> None:
    """Raises `InvalidSpec` for one that must not protect anything."""
    if not SHORTEST_PASSPHRASE <= len(text) <= LONGEST_PASSPHRASE:
        raise InvalidSpec(
            f"a passphrase has {SHORTEST_PASSPHRASE} to {LONGEST_PASSPHRASE} characters, this one"
            f" {len(text)}: take several words, or the output of: openssl rand -base64 24"
        )


def seal(
    about: Mapping[str, object], passphrase: str, data: Iterable[bytes], cost: Cost | None = None
) -> Iterator[bytes]:
    """The file, piece by piece. `about` is what anybody may read. Blocks: it is work."""
    check_passphrase(passphrase)
    cost, salt = cost or Cost(), os.urandom(_SALT)
    kdf = {"name": "scrypt", "salt": salt.hex(), **asdict(cost)}
    text = json.dumps({**about, "kdf": kdf}, ensure_ascii=True).encode()
    head = MAGIC + b"%d\n" % FORMAT + text + b"\n"
    cipher = _cipher(passphrase, salt, cost)

    def frame(number: int, content: bytes, *, last: bool = False) -> bytes:
        sealed = cipher.encrypt(_nonce(number, last), content, head)
        return (len(sealed) | (_LAST if last else 0)).to_bytes(4, "big") + sealed

    proof = frame(0, b"")
    yield head + _checksum(head, proof) + proof
    waiting, number = bytearray(), 1
    for piece in data:
        waiting += piece
        while len(waiting) > FRAME:
            yield frame(number, bytes(waiting[:FRAME]))
            del waiting[:FRAME]
            number += 1
    yield frame(number, bytes(waiting), last=True)


def unseal(file: BinaryIO, passphrase: str) -> tuple[dict[str, Any], Iterator[bytes]]:
    """What anybody may read, which is genuine now; and the rest, in pieces.

    Whoever reads the pieces must read all of them before he acts on any: only then it is known that
    the file is whole. Both raise `InvalidSpec` for what is no backup, damaged, cut off or newer
    than we are, `PermissionDenied` for the wrong passphrase, `Unavailable` when it cannot be read.
    """
    head, about, proof = _head(file)
    salt, cost = _kdf(about)
    cipher = _cipher(passphrase, salt, cost)
    try:
        cipher.decrypt(_nonce(0, False), proof, head)
    except InvalidTag:
        raise PermissionDenied(
            "the passphrase is not that of this backup: try again with the right one"
        ) from None
    return about, _frames(file, cipher, head)


def _head(file: BinaryIO) -> tuple[bytes, dict[str, Any], bytes]:
    """The two lines, what the second one says, and the content of the first frame."""
    first = _read_line(file, LONGEST_FIRST)
    if not first:
        raise InvalidSpec("this file is empty: take another copy of the backup")
    version = first.removeprefix(MAGIC).strip()
    begins = first.startswith(MAGIC)
    if MAGIC.startswith(first) or (begins and b"\n" not in first and len(first) < LONGEST_FIRST):
        raise InvalidSpec(_CUT_OFF)
    if begins and not (version.isdigit() and first.endswith(b"\n")):
        raise InvalidSpec(_DAMAGED_HEAD)
    if not begins:
        raise InvalidSpec("this is no backup of PICCOLO: `piccolo backup FILE` makes one")
    if int(version) > FORMAT:
        raise InvalidSpec(
            f"this backup was made by a newer PICCOLO (format {int(version)}, this one knows"
            f" {FORMAT}): restore it with that version"
        )
    head = first + (second := _read_line(file, MAX_LINE))
    third, proof = _read(file, len(_checksum(b"", b""))), _read(file, 4 + _TAG)
    try:
        about = json.loads(second)
    except (ValueError, RecursionError):
        about = None
    if third != _checksum(head, proof) or not isinstance(about, dict):
        raise InvalidSpec(_DAMAGED_HEAD)
    return head, about, proof[4:]


def _checksum(head: bytes, proof: bytes) -> bytes:
    return hashlib.sha256(head + proof).hexdigest().encode() + b"\n"


def _kdf(about: dict[str, Any]) -> tuple[bytes, Cost]:
    kdf = about.pop("kdf", None)
    try:
        if kdf["name"] != "scrypt" or not all(type(kdf[k]) is int for k in ("n", "r", "p")):
            raise ValueError
        salt, cost = bytes.fromhex(kdf["salt"]), Cost(kdf["n"], kdf["r"], kdf["p"])
    except (KeyError, TypeError, ValueError):
        cost, salt = Cost(0), b""
    if len(salt) != _SALT or not cost.fits():
        raise InvalidSpec(
            "this backup does not say how its key is made, or was changed there: take another copy"
        )
    return salt, cost


def _frames(file: BinaryIO, cipher: AESGCM, head: bytes) -> Iterator[bytes]:
    number, last = 1, False
    while not last:
        word = int.from_bytes(_read(file, 4), "big")
        last, length = bool(word & _LAST), word & ~_LAST
        if not _TAG <= length <= FRAME + _TAG:
            raise InvalidSpec(_damaged(number))
        try:
            content = cipher.decrypt(_nonce(number, last), _read(file, length), head)
        except InvalidTag:
            raise InvalidSpec(_damaged(number)) from None
        yield content
        number += 1
    if file.read(1):
        raise InvalidSpec(
            "something was added behind the end of this backup: take another copy of it"
        )


def _damaged(number: int) -> str:
    return (
        f"this backup is damaged, or was changed, behind byte {(number - 1) * FRAME} of its"
        " content: take another copy of it"
    )


def _read_line(file: BinaryIO, longest: int) -> bytes:
    try:
        return file.readline(longest)
    except OSError as error:
        raise Unavailable(f"cannot read the backup: {error.strerror}") from error


def _read(file: BinaryIO, size: int) -> bytes:
    try:
        data = file.read(size)
    except OSError as error:
        raise Unavailable(f"cannot read the backup: {error.strerror}") from error
    if len(data) < size:
        raise InvalidSpec(_CUT_OFF)
    return data


def _cipher(passphrase: str, salt: bytes, cost: Cost) -> AESGCM:
    n, r, p = cost.n, cost.r, cost.p
    memory = 128 * r * (n + p + 2) + (1 << 20)  # what OpenSSL counts, and some
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=32)
    return AESGCM(key)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
