"""Our errors on the wire: one table, both ways."""

from __future__ import annotations

import os

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
    if isinstance(error, OSError):
        number = error.errno or 0  # below 0: the resolver's own
        reason = os.strerror(number).lower() if number > 0 else error.strerror or str(error)
        return e.Unavailable(f"cannot reach {whom}: {reason}")
    return e.PiccoloError(f"{whom}: {error}")


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception that a TaskGroup gathered: gRPC has one status per call."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
