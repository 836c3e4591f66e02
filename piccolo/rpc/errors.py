"""Our errors on the wire: one table, both ways; and what failures of TLS mean."""

from __future__ import annotations

import os
import ssl
import time

from grpclib import GRPCError, Status
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from piccolo.core import errors as e

STATUS_OF: dict[type[e.PiccoloError], Status] = {
    e.InvalidSpec: Status.INVALID_ARGUMENT,
    e.NotFound: Status.NOT_FOUND,
    e.DuplicateIdentity: Status.ALREADY_EXISTS,
    e.StaleGeneration: Status.FAILED_PRECONDITION,
    e.Conflict: Status.ABORTED,
    e.Compacted: Status.OUT_OF_RANGE,
    e.Unavailable: Status.UNAVAILABLE,
    e.PermissionDenied: Status.PERMISSION_DENIED,
}

_ERROR_OF = {status: error for error, status in STATUS_OF.items()} | {
    Status.UNAUTHENTICATED: e.PermissionDenied,
    Status.DEADLINE_EXCEEDED: e.Unavailable,
    Status.CANCELLED: e.Unavailable,
}


def to_status(error: e.PiccoloError) -> GRPCError:
    """The gRPC error that carries ours."""
    for cls in type(error).__mro__:
        if cls in STATUS_OF:
            return GRPCError(STATUS_OF[cls], str(error))
    return GRPCError(Status.INTERNAL, str(error))


def from_rpc(error: BaseException, whom: str) -> e.PiccoloError:
    """What a failed call to `whom` (an address, for the message) means to us."""
    if isinstance(error, GRPCError):
        if error.status is Status.UNIMPLEMENTED:
            return e.Unavailable(
                f"{whom} does not know this call: it runs an older version of PICCOLO; upgrade it"
            )
        cls = _ERROR_OF.get(error.status, e.PiccoloError)
        return cls(error.message or f"{whom} answered {error.status.name}")
    if isinstance(error, StreamTerminatedError):
        return e.Unavailable(f"{whom} closed the connection")
    if isinstance(error, ProtocolError):
        return e.Unavailable(f"{whom} does not speak PICCOLO's protocol")
    if isinstance(error, TimeoutError):
        return e.Unavailable(f"{whom} did not answer in time")
    if isinstance(error, ssl.SSLError):
        return _from_tls(error, whom)
    if isinstance(error, OSError):
        number = error.errno or 0  # below 0: the resolver's own
        reason = os.strerror(number).lower() if number > 0 else error.strerror or str(error)
        return e.Unavailable(f"cannot reach {whom}: {reason}")
    return e.PiccoloError(f"{whom}: {error}")


# X509_V_ERR_… of OpenSSL, x509_vfy.h.
_NOT_YET_VALID, _EXPIRED, _NO_SERVER, _OTHER_NAME = 9, 10, 26, 62

# Alerts (RFC 8446, 6.2) by which a master says why it does not take a certificate.
_ALERTS = {
    "CERTIFICATE_EXPIRED": "it has expired",
    "UNKNOWN_CA": "it is of another authority",
    "CERTIFICATE_REVOKED": "it was revoked",
    "BAD_CERTIFICATE": "it is damaged, or not valid yet",
    "CERTIFICATE_UNKNOWN": "it is not valid",
    "DECRYPT_ERROR": "the key does not belong to it",
    "UNSUPPORTED_CERTIFICATE": "it is not meant for this",
}


def _from_tls(error: ssl.SSLError, whom: str) -> e.PiccoloError:
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _NOT_YET_VALID:
            return e.Unavailable(
                f"the certificate of {whom} is not valid yet by this machine's clock, which says"
                f" {now}: it works as soon as the clock is right"
            )
        if error.verify_code == _EXPIRED:
            return e.Unavailable(
                f"the certificate of {whom} has expired by this machine's clock, which says {now}:"
                " set the clock if it is wrong, else look at the master"
            )
        if error.verify_code in (_NO_SERVER, _OTHER_NAME):
            return e.PermissionDenied(
                f"{whom} is no PICCOLO master: its certificate is not a master's"
            )
        return e.PermissionDenied(
            f"{whom} is the master of another cluster, or its authority was replaced without us:"
            f" its certificate is not signed by one that we trust ({error.verify_message}); if it"
            " was replaced, a node needs a new token, a client a new context"
        )
    reason = getattr(error, "reason", None) or ""
    for alert, meaning in _ALERTS.items():
        if alert in reason and "ALERT" in reason:
            return e.CertificateRefused(f"{whom} does not take our certificate: {meaning}")
    if "ALERT" in reason:
        return e.Unavailable(f"{whom} broke off the TLS handshake: {reason.lower()}")
    return e.Unavailable(
        f"{whom} does not speak TLS 1.3, as PICCOLO's masters do: it is another program, or"
        f" an older master without TLS ({reason.lower() or error})"
    )


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception that a TaskGroup gathered: gRPC has one status per call."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
