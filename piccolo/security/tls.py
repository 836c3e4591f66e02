"""TLS contexts: version 1.3 only, trust in the cluster's own authority only (RFC 8446, RFC 5280).

A master is known by the name `core.security.access.MASTER_NAME` in its certificate, not by its
address: only masters get such a certificate, and addresses change. Standard library only: the agent
uses this too.
"""

from __future__ import annotations

import os
import ssl

from piccolo.core.errors import InvalidSpec


def _modern(context: ssl.SSLContext, protocol: str = "h2") -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([protocol])
    return context


def server_context(ca_pem: str, chain_pem: str, key_pem: str) -> ssl.SSLContext:
    """Of the master. Clients without a certificate come through, to be told what they need."""
    context = _modern(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # a resumed session would not look at the certificate again
    _trust(context, ca_pem)
    _identify(context, chain_pem, key_pem)
    return context


def web_context(chain_pem: str, key_pem: str) -> ssl.SSLContext:
    """Of the master, for HTTP/1.1 and whoever asks: nobody is asked for a certificate."""
    context = _modern(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "http/1.1")
    context.num_tickets = 0
    _identify(context, chain_pem, key_pem)
    return context


def client_context(ca_pem: str, certificate_pem: str = "", key_pem: str = "") -> ssl.SSLContext:
    """Of agents and clients; without a certificate: of a node on its way in.

    Raises `InvalidSpec` for what is no certificate or key, or when they do not belong together.
    """
    context = _modern(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    _trust(context, ca_pem)
    if certificate_pem:
        _identify(context, certificate_pem, key_pem)
    return context


def unverified_context() -> ssl.SSLContext:
    """To ask a stranger for its authority. Say nothing over it that matters, believe nothing."""
    context = _modern(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificates_in(pem: str) -> list[bytes]:
    """The certificates of a PEM text, in DER. Raises `InvalidSpec`."""
    found = []
    for part in pem.split(ssl.PEM_HEADER)[1:]:
        body, footer, _ = part.partition(ssl.PEM_FOOTER)
        try:
            found.append(ssl.PEM_cert_to_DER_cert(f"{ssl.PEM_HEADER}{body}{footer}"))
        except ValueError as error:
            raise InvalidSpec("this is no certificate in PEM form") from error
    return found


def _trust(context: ssl.SSLContext, ca_pem: str) -> None:
    if not ca_pem.strip():
        raise InvalidSpec("the certificate of the authority is missing")
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: it is not ASCII
        raise InvalidSpec("these are no certificates of an authority") from error


def _identify(context: ssl.SSLContext, chain_pem: str, key_pem: str) -> None:
    """OpenSSL takes keys from files only; this one is in memory (memfd_create(2))."""
    file = os.memfd_create("identity")
    try:
        os.write(file, (chain_pem + key_pem).encode())
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = _reason(error, chain_pem, key_pem)
        raise InvalidSpec(f"the certificate and its key cannot be used: {reason}") from error
    finally:
        os.close(file)


# OpenSSL's words for a key that is not the certificate's; the last where it is of another kind.
_MISMATCHES = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}


def _reason(error: Exception, chain_pem: str, key_pem: str) -> str:
    """In our words, and which of the two it is."""
    if not isinstance(error, ssl.SSLError):
        return str(error)  # our own, as below
    try:
        _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), chain_pem)
    except InvalidSpec:
        return "the certificate is damaged" if chain_pem.strip() else "the certificate is missing"
    if error.reason in _MISMATCHES:
        return "they do not belong together"
    return "the key is damaged" if key_pem.strip() else "the key is missing"


def _no_password() -> str:
    raise ValueError("the key is protected by a password, which nobody is here to type")
