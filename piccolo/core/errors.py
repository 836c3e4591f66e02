"""Errors, named by what the caller can do about them.

Each message says what is wrong and, where there is one, the next step. The table that maps them
to gRPC status codes stands in `piccolo.rpc.errors`, the one for exit codes in
`piccolo.cli.exit_codes`.
"""

from __future__ import annotations


class PiccoloError(Exception):
    """Base of all errors that PICCOLO raises on purpose."""


class InvalidSpec(PiccoloError):
    """The input is wrong: correct it and try again."""


class NotFound(PiccoloError):
    """No such object: look at what there is."""


class Conflict(PiccoloError):
    """The object is not as the caller believed: read it again, then decide."""


class DuplicateIdentity(Conflict):
    """Another living agent has this identity: one of the two machines is a copy."""


class StaleGeneration(Conflict):
    """The session was replaced by a newer one: it is fenced off."""


class Compacted(PiccoloError):
    """The revision asked for is no longer kept: list again, then watch."""


class Unavailable(PiccoloError):
    """A part that is needed does not answer: nothing was changed, try again later."""


class PermissionDenied(PiccoloError):
    """The caller may not do this. `why` is for the audit trail only: it would help an attacker."""

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(message)
        self.why = why or message


class CertificateRefused(PermissionDenied):
    """The master broke off the connection because of our certificate: get another one."""
