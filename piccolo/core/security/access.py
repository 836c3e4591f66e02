"""Who may call what: one table, RPC → roles, and nothing that is not in it (Z3).

`tests/core/security/test_access.py` walks the proto descriptors: an RPC without a row fails there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from piccolo.core.errors import PermissionDenied


class Role(StrEnum):
    """What a certificate makes of its holder."""

    ANONYMOUS = "anonymous"  # without a certificate: on the way in
    AGENT = "agent"  # sees and touches its own node only
    VIEWER = "viewer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who somebody is: for an agent, `name` is the id of its node."""

    role: Role
    name: str = ""

    def __str__(self) -> str:
        return f"{self.role}:{self.name}" if self.name else str(self.role)


ANONYMOUS = Principal(Role.ANONYMOUS)
MASTER_NAME = "piccolo-master"  # the name in every master's certificate, wherever it is reached

# The SPIFFE ID (spiffe.io, "The SPIFFE Identity and Verifiable Identity Document") in the subject
# alternative name of a certificate: spiffe://CLUSTER-ID/ROLE/NAME.
_SPIFFE = re.compile(
    r"spiffe://([a-z0-9][-a-z0-9._]*)/([a-z]+)/([A-Za-z0-9][-A-Za-z0-9._@]{0,127})"
)
CLIENT_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?")


def spiffe_id(cluster_id: str, principal: Principal) -> str:
    return f"spiffe://{cluster_id}/{principal.role}/{principal.name}"


def principal_of(cluster_id: str, uris: Iterable[str]) -> Principal:
    """Whom the URIs of a certificate's subject alternative name mean.

    Raises `PermissionDenied` for anybody who is not of this cluster, and for several at once.
    """
    found = list(uris)
    match = _SPIFFE.fullmatch(found[0]) if len(found) == 1 else None
    if match is None or match[1] != cluster_id or match[2] not in _CERTIFIED:
        raise PermissionDenied("the certificate names nobody of this cluster")
    return Principal(Role(match[2]), match[3])


_CERTIFIED = {Role.AGENT, Role.VIEWER, Role.ADMIN}


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call an RPC, and whether it is audited when it is allowed: denied ones always are."""

    roles: frozenset[Role]
    audited: bool


def _reads(*roles: Role) -> Rule:
    return Rule(frozenset(roles), audited=False)


def _changes(*roles: Role) -> Rule:
    return Rule(frozenset(roles), audited=True)


_PEOPLE = (Role.ADMIN, Role.VIEWER)
_CLIENTS = "/piccolo.api.v1.ApiServerService/"
_AGENTS = "/piccolo.v1.NodeAgentService/"

RULES: Mapping[str, Rule] = {
    _CLIENTS + "GetNodes": _reads(*_PEOPLE),
    _CLIENTS + "GetNode": _reads(*_PEOPLE),
    _CLIENTS + "RegisterNode": _changes(Role.ANONYMOUS, Role.AGENT),  # with a token: a node joins
    _CLIENTS + "GetTopology": _reads(*_PEOPLE),
    _CLIENTS + "UpdateTopology": _changes(Role.ADMIN),
    _CLIENTS + "GetContainers": _reads(*_PEOPLE),
    _CLIENTS + "GetEvents": _reads(*_PEOPLE),
    _CLIENTS + "GetClusterStatus": _reads(*_PEOPLE),
    _CLIENTS + "Watch": _reads(*_PEOPLE),
    _CLIENTS + "ApproveNode": _changes(Role.ADMIN),
    _CLIENTS + "LabelNode": _changes(Role.ADMIN),
    _CLIENTS + "RemoveNode": _changes(Role.ADMIN),
    _CLIENTS + "CheckNode": _reads(*_PEOPLE),
    _CLIENTS + "CreateToken": _changes(Role.ADMIN),
    _CLIENTS + "GetTokens": _reads(Role.ADMIN),
    _CLIENTS + "RevokeToken": _changes(Role.ADMIN),
    _CLIENTS + "IssueCertificate": _changes(Role.ADMIN),
    _CLIENTS + "RenewOwnCertificate": _changes(*_PEOPLE),
    _CLIENTS + "GetCertificates": _reads(*_PEOPLE),
    _CLIENTS + "RevokeCertificate": _changes(Role.ADMIN),
    _CLIENTS + "GetAuthority": _reads(*_PEOPLE),
    _CLIENTS + "RotateAuthority": _changes(Role.ADMIN),
    _CLIENTS + "RetireAuthority": _changes(Role.ADMIN),
    _CLIENTS + "GetAudit": _reads(Role.ADMIN),
    _CLIENTS + "VerifyAudit": _reads(Role.ADMIN),
    _CLIENTS + "Diagnose": _reads(*_PEOPLE),
    _CLIENTS + "PutSecret": _changes(Role.ADMIN),
    _CLIENTS + "GetSecrets": _reads(Role.ADMIN),
    _CLIENTS + "DeleteSecret": _changes(Role.ADMIN),
    _CLIENTS + "RotateStoreKey": _changes(Role.ADMIN),
    _CLIENTS + "Backup": _changes(Role.ADMIN),  # it changes nothing, but all secrets leave with it
    _CLIENTS + "Apply": _changes(Role.ADMIN),
    _CLIENTS + "DeleteWorkloads": _changes(Role.ADMIN),
    _CLIENTS + "RollBackWorkload": _changes(Role.ADMIN),
    _CLIENTS + "RestartWorkloads": _changes(Role.ADMIN),
    _CLIENTS + "GetWorkloads": _reads(*_PEOPLE),
    _CLIENTS + "GetWorkload": _reads(*_PEOPLE),
    _CLIENTS + "GetHistory": _reads(*_PEOPLE),
    _AGENTS + "RegisterNode": _changes(Role.ANONYMOUS, Role.AGENT),
    _AGENTS + "ReportStatus": _reads(Role.AGENT),
    _AGENTS + "Heartbeat": _reads(Role.AGENT),
    _AGENTS + "ReceiveConfig": _reads(Role.AGENT),
    _AGENTS + "GetTrustBundle": _reads(*Role),  # public: whoever reads it must check it
    _AGENTS + "RenewCertificate": _changes(Role.ANONYMOUS, Role.AGENT),
    _AGENTS + "Session": _reads(Role.AGENT),  # noted when it opens, not when it ends
}


def check(method: str, principal: Principal) -> Rule:
    """The rule by which `principal` may call `method`, "/package.Service/Method".

    Raises `PermissionDenied` when it may not.
    """
    rule = RULES.get(method)
    if rule is not None and principal.role in rule.roles:
        return rule
    name = method.rpartition("/")[2]
    if principal.role is Role.ANONYMOUS:
        raise PermissionDenied(
            f"{name} needs a certificate: clients have one in their context (--context,"
            " $PICCOLO_CONTEXT; see `piccolo context list`), agents get one by joining with a token"
        )
    allowed = ", ".join(sorted(rule.roles)) if rule is not None else "nobody"
    raise PermissionDenied(f"{principal} may not call {name}: that is for {allowed}")
