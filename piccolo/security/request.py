"""Keys, and requests for certificates (PKCS #10, RFC 2986): what a machine makes for itself.

The request says nothing but the public key, signed by the private one: who somebody is, is for the
authority to decide. Imports `cryptography`: not for the long-running agent.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.core.security.token import fingerprint
from piccolo.security.files import private_dir, read_private, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

KEY, REQUEST = "node.key", "node.csr"


def make_key() -> str:
    """A new private key (P-256, which every TLS library has), PKCS #8 in PEM."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def make_request(key_pem: str) -> str:
    """A request for a certificate of this key, in PEM. Raises `InvalidSpec` for no key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(_load(key_pem), hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def key_fingerprint(key_pem: str) -> str:
    """Of the public half. Raises `InvalidSpec` for no key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = _load(key_pem).public_key()
    return fingerprint(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def prepare(directory: Path) -> Path:
    """See that a node has its key and its request in `directory`/pki; returns that directory.

    Run before the agent: it costs nothing when they are there. Raises `InvalidSpec` for what is
    damaged or open to others, `Unavailable` when it cannot be written.
    """
    pki = private_dir(directory / "pki")
    key = read_private(pki / KEY)
    if key is None:
        key = _first(pki / KEY, make_key())
    if read_private(pki / REQUEST) is None:
        try:
            write_private(pki / REQUEST, make_request(key))
        except InvalidSpec as error:
            raise _damaged(pki, error) from None
    return pki


def fingerprint_in(directory: Path) -> str:
    """Of the key of the node in `directory`, which is made where it is missing; as `prepare`."""
    pki = prepare(directory)
    key = read_private(pki / KEY)
    assert key is not None
    try:
        return key_fingerprint(key)
    except InvalidSpec as error:
        raise _damaged(pki, error) from None


def _damaged(pki: Path, error: InvalidSpec) -> InvalidSpec:
    return InvalidSpec(
        f"{pki / KEY} is damaged ({error}): restore it, or delete it and join anew with a token"
    )


def _first(path: Path, text: str) -> str:
    """Write a file unless another process was faster; returns what stands there."""
    mine = path.with_name(f"{path.name}.{os.getpid()}")
    write_private(mine, text)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(mine, path)
        mine.unlink()
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error
    return read_private(path) or text


def _load(key_pem: str) -> CertificateIssuerPrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(key_pem.encode(), None)
        return cast("CertificateIssuerPrivateKeyTypes", key)
    except (ValueError, TypeError) as error:
        raise InvalidSpec("this is no private key in PEM form") from error
