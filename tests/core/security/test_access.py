"""The table of who may call what, against the RPCs that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from piccolo.core.errors import PermissionDenied
from piccolo.core.security.access import (
    ANONYMOUS,
    RULES,
    Principal,
    Role,
    check,
    principal_of,
    spiffe_id,
)
from piccolo.rpc import wire

PROTO = Path(__file__).parents[3] / "proto" / "piccolo"
CLUSTER = "8c7b"


def rpcs() -> set[str]:
    """All that the proto files declare, "/package.Service/Method"."""
    found = set()
    for file in PROTO.rglob("*.proto"):
        text = file.read_text()
        package = re.search(r"^package (\S+);", text, re.M)
        assert package is not None
        for service in re.finditer(r"^service (\w+) \{(.*?)^\}", text, re.M | re.S):
            for rpc in re.findall(r"^\s*rpc (\w+)\(", service[2], re.M):
                found.add(f"/{package[1]}.{service[1]}/{rpc}")
    return found


def served() -> set[str]:
    """All that the generated code serves."""
    return {
        *wire.ApiServerServiceBase().__mapping__(),
        *wire.NodeAgentServiceBase().__mapping__(),
    }


def test_every_rpc_has_a_row_and_every_row_is_an_rpc() -> None:
    assert len(rpcs()) > 30
    assert set(RULES) == rpcs() == served()


@pytest.mark.parametrize("method", sorted(RULES))
@pytest.mark.parametrize("role", Role)
def test_every_rpc_for_every_role(method: str, role: Role) -> None:
    who = Principal(role, "somebody")
    if role in RULES[method].roles:
        assert check(method, who) is RULES[method]
    else:
        with pytest.raises(PermissionDenied):
            check(method, who)


def test_what_is_not_in_the_table_is_denied_to_all() -> None:
    for role in Role:
        with pytest.raises(PermissionDenied):
            check("/piccolo.api.v1.ApiServerService/LaunchMissiles", Principal(role, "x"))


def test_the_anonymous_may_do_nothing_but_come_in() -> None:
    allowed = {m.rpartition("/")[2] for m, rule in RULES.items() if Role.ANONYMOUS in rule.roles}
    assert allowed == {"RegisterNode", "GetTrustBundle", "RenewCertificate"}


def test_viewers_change_nothing_but_their_own_certificate() -> None:
    changing = {
        m.rpartition("/")[2]
        for m, rule in RULES.items()
        if rule.audited and Role.VIEWER in rule.roles
    }
    assert changing == {"RenewOwnCertificate"}


def test_agents_do_not_read_the_cluster() -> None:
    clients = "/piccolo.api.v1.ApiServerService/"
    allowed = {m for m, rule in RULES.items() if m.startswith(clients) and Role.AGENT in rule.roles}
    assert allowed == {f"{clients}RegisterNode"}


@pytest.mark.parametrize(
    "who",
    [Principal(Role.AGENT, "0af3"), Principal(Role.ADMIN, "admin"), Principal(Role.VIEWER, "v")],
)
def test_an_identity_survives_its_certificate(who: Principal) -> None:
    assert principal_of(CLUSTER, [spiffe_id(CLUSTER, who)]) == who


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["https://example.org/"],
        ["spiffe://another/admin/admin"],
        ["spiffe://8c7b/anonymous/x"],
        ["spiffe://8c7b/master/x"],
        ["spiffe://8c7b/admin/"],
        ["spiffe://8c7b/admin/a/b"],
        ["spiffe://8c7b/admin/a\nb"],
        ["spiffe://8c7b/admin/admin?x=1"],
        ["spiffe://8c7b/agent/a", "spiffe://8c7b/admin/admin"],
    ],
)
def test_whoever_is_not_named_is_nobody(uris: list[str]) -> None:
    with pytest.raises(PermissionDenied, match="nobody of this cluster"):
        principal_of(CLUSTER, uris)


def test_without_a_certificate_the_error_says_how_to_get_one() -> None:
    with pytest.raises(PermissionDenied, match="context"):
        check("/piccolo.api.v1.ApiServerService/GetNodes", ANONYMOUS)
