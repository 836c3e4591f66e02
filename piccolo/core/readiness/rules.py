"""All rules together, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Sequence

from piccolo.core.model import NodeRole
from piccolo.core.readiness import machine, network
from piccolo.core.readiness.facts import Certificate, Facts, Site
from piccolo.core.readiness.finding import Finding, error, ok, unknown, warning

LATE = 0.8  # of a certificate's life: what renews itself has done so long before
GRACE = 30 * 86400.0  # s that a master still renews an expired one, unless node.yaml says else


def judge(facts: Facts) -> tuple[Finding, ...]:
    return (
        config(facts.site),
        *machine.findings(facts),
        *network.findings(facts),
        certificate(facts.site.role, facts.now, facts.certificates),
    )


def config(site: Site) -> Finding:
    if site.problem:
        fix = "correct it; docs/configuration.md has all keys"
        return error("config", site.problem, fix)
    where = ", ".join(map(str, site.masters)) if site.masters else str(site.listen)
    word = "master" if site.role is NodeRole.SUB else "listens at"
    return ok("config", f"{word} {where}, from {site.source}")


def certificate(role: NodeRole, now: float, certificates: Sequence[Certificate] | None) -> Finding:
    """The one that ends first speaks for all."""
    if certificates is None:
        return unknown("certificate", "it was not found out in time; try again")
    if not certificates:
        return ok("certificate", "none yet: it comes with joining, or the master's first start")
    for held in certificates:
        if held.not_after is None:
            return unknown("certificate", f"{held.path} cannot be read; try again as root")
    first = min(certificates, key=lambda held: held.not_after or 0.0)
    assert first.not_after is not None
    days = (first.not_after - now) / 86400
    if days < 0:
        seen = f"{first.path} expired {-days:.0f} days ago"
        if role is NodeRole.SUB and -days * 86400 > GRACE:
            fix = "join again with a new token: piccolo token create, on the master"
            return error("certificate", seen, fix)
        return warning("certificate", seen, _renewal(role))
    seen = f"{first.path} holds for {days:.0f} more days"
    if first.made is not None and now > first.made + LATE * (first.not_after - first.made):
        return warning("certificate", f"{seen}: it should have been renewed", _renewal(role))
    return ok("certificate", seen)


def _renewal(role: NodeRole) -> str:
    if role is NodeRole.MASTER:
        return "start the master, which renews it; an authority is replaced by: piccolo ca rotate"
    return "start the agent and see that it reaches the master: then it renews it by itself"
