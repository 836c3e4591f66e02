"""Exit codes, stable (docs/cli.md): scripts may rely on them."""

from __future__ import annotations

from piccolo.core import errors as e

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
UNREACHABLE = 4
CONFLICT = 5
DENIED = 6
TIMED_OUT = 7
INTERRUPTED = 130

_OF: dict[type[e.PiccoloError], int] = {
    e.InvalidSpec: USAGE,
    e.NotFound: NOT_FOUND,
    e.Unavailable: UNREACHABLE,
    e.Conflict: CONFLICT,
    e.PermissionDenied: DENIED,
}


def of(error: e.PiccoloError) -> int:
    return next((_OF[cls] for cls in type(error).__mro__ if cls in _OF), FAILED)
