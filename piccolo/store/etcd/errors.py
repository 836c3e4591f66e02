"""etcd's errors, and those of the way to it, become ours here."""

from __future__ import annotations

import ssl

from grpclib import GRPCError, Status
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from piccolo.core.errors import (
    Compacted,
    InvalidSpec,
    PermissionDenied,
    PiccoloError,
    Unavailable,
)

# What a call to an etcd server may raise.
CALL_ERRORS = (GRPCError, StreamTerminatedError, ProtocolError, TimeoutError, OSError)

# Words of etcd that mean more than its status codes; from its package rpctypes.
_COMPACTED = "required revision has been compacted"
_FUTURE = "required revision is a future revision"
_NO_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")
_BAD_PASSWORD = "authentication failed"
_NO_SPACE = "database space exceeded"
# The member answered that it did not even begin.
_NOT_BEGUN = ("no leader", "not capable", "too many requests", "not supported for learner")

_CLASSES: dict[Status, type[PiccoloError]] = {
    Status.PERMISSION_DENIED: PermissionDenied,
    Status.UNAUTHENTICATED: PermissionDenied,
    Status.INVALID_ARGUMENT: InvalidSpec,
    Status.OUT_OF_RANGE: InvalidSpec,
}


def wants_login(error: BaseException) -> bool:
    """Whether etcd does not accept our token (any more)."""
    return isinstance(error, GRPCError) and _has(error.message, _NO_TOKEN)


def lets_everybody_in(error: GRPCError) -> bool:
    """Whether etcd knows no users."""
    return _has(error.message, ("authentication is not enabled",))


def is_future(error: Compacted) -> bool:
    """Whether etcd has not come so far yet."""
    return _FUTURE in str(error)


def never_begun(error: BaseException) -> bool:
    """Whether the request was surely not carried out, and another member may do better."""
    return isinstance(error, GRPCError) and _has(error.message, _NOT_BEGUN)


def lost_connection(error: BaseException) -> bool:
    """Whether nobody can know if the request was carried out."""
    return not isinstance(error, GRPCError)


def from_etcd(error: BaseException, whom: object) -> PiccoloError:
    """What the failure of a call to `whom` means to us."""
    if isinstance(error, GRPCError):
        message = (error.message or error.status.name).removeprefix("etcdserver: ")
        said = f"etcd at {whom}: {message}"
        if _has(message, (_COMPACTED, _FUTURE)):
            return Compacted(f"{said}: list again, then watch")
        if wants_login(error):
            return PermissionDenied(f"{said}: give a user and a password in the store's address")
        if _BAD_PASSWORD in message:
            return PermissionDenied(f"{said}: check user and password in the store's address")
        if _NO_SPACE in message:
            return Unavailable(
                f"{said}: compact and defragment it, then disarm its alarm with etcdctl"
            )
        return _CLASSES.get(error.status, Unavailable)(said)
    if isinstance(error, StreamTerminatedError):
        return Unavailable(f"etcd at {whom} closed the connection (is one side without TLS?)")
    if isinstance(error, TimeoutError):
        return Unavailable(f"etcd at {whom} did not answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unavailable(f"etcd at {whom} has a bad certificate: {error.verify_message}")
    if isinstance(error, OSError):
        return Unavailable(f"cannot reach etcd at {whom}: {error.strerror or error}")
    return Unavailable(f"etcd at {whom}: {error}")


def _has(message: str | None, phrases: tuple[str, ...]) -> bool:
    return any(phrase in (message or "") for phrase in phrases)
