"""Join tokens as text: `piccolo1.ID.SECRET.PIN`.

`ID` names the token in lists and logs, `SECRET` (144 random bits) is what counts, and `PIN` is the
SHA-256 of the authority's certificate, by which a new node knows the master before it says anything
to it. The master keeps the id and a hash of the secret only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from piccolo.core.errors import InvalidSpec

_PREFIX = "piccolo1"
ID_BYTES, SECRET_BYTES = 5, 18
_TEXT = re.compile(r"piccolo1\.([a-z2-7]{8})\.([-_A-Za-z0-9]{24})\.([-_A-Za-z0-9]{43})")
_ID = re.compile(r"[a-z2-7]{8}")
_FINGERPRINT = re.compile(r"SHA256:[+/A-Za-z0-9]{43}")


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate or public key in DER, written as OpenSSH does: "SHA256:…"."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def parse_fingerprint(text: str) -> str:
    """As `fingerprint` writes it; 64 hexadecimal digits, as OpenSSL prints them, are the same.

    Raises `InvalidSpec`.
    """
    text = text.strip()
    digits = text.replace(":", "").lower()
    if re.fullmatch(r"[0-9a-f]{64}", digits):
        raw = binascii.unhexlify(digits)
        return "SHA256:" + base64.b64encode(raw).decode().rstrip("=")
    if not _FINGERPRINT.fullmatch(text.rstrip("=")):
        raise InvalidSpec('this is no fingerprint: "SHA256:" and 43 letters, or 64 hex digits')
    return text.rstrip("=")


def parse_id(text: str) -> str:
    """The id of a token. Raises `InvalidSpec`, without repeating what may be a whole token."""
    if not _ID.fullmatch(text):
        raise InvalidSpec(
            "this is no token's id: it has 8 letters and digits, and `piccolo token list` shows it;"
            " the secret does not belong here"
        )
    return text


@dataclass(frozen=True, slots=True)
class JoinToken:
    id: str
    secret: str = field(repr=False)
    pin: str  # `fingerprint` of the authority's certificate

    @classmethod
    def make(cls, random: bytes, pin: str) -> JoinToken:
        """A new one from `ID_BYTES + SECRET_BYTES` random bytes."""
        name = base64.b32encode(random[:ID_BYTES]).decode().lower()
        return cls(name, base64.urlsafe_b64encode(random[ID_BYTES:]).decode(), pin)

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Raises `InvalidSpec`, without repeating the text: it may be nearly right."""
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise InvalidSpec(
                f'this is no join token: one begins with "{_PREFIX}." and has four parts;'
                " `piccolo token create` on the master makes one"
            )
        pin = match[3].replace("-", "+").replace("_", "/")
        return cls(match[1], match[2], f"SHA256:{pin}")

    @property
    def text(self) -> str:
        pin = self.pin.removeprefix("SHA256:").replace("+", "-").replace("/", "_")
        return f"{_PREFIX}.{self.id}.{self.secret}.{pin}"

    @property
    def hash(self) -> str:
        """What the master keeps of the secret: enough random bits need no slow hash."""
        return hashlib.sha256(self.secret.encode()).hexdigest()
