"""What an operator should look at before it becomes a fault: `piccolo doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from piccolo.core import words
from piccolo.core.model import NodeState, Severity
from piccolo.core.planning.rollup import State
from piccolo.core.security.access import Role
from piccolo.master import keys
from piccolo.master.api_server.workload_views import WorkloadViews
from piccolo.master.cluster import Cluster
from piccolo.rpc import convert, wire
from piccolo.security.authority import fingerprint_of

_SOON = timedelta(days=90)  # for an authority
_OLD = timedelta(days=30)  # for a backup
_RECENT = timedelta(days=1)  # so long a restore is news
_NAMED = 10


async def diagnose(c: Cluster, workloads: WorkloadViews) -> list[wire.Finding]:
    """Findings, the worst first; what is well is said too."""
    found = [*_store(c), *_restored(c), *_from_backup(c), *_backup(c), *await _audit(c)]
    found += [*_nodes(c), *_workloads(workloads)]
    found += [*_certificates(c), *_authorities(c)]
    order = [wire.Severity.ERROR, wire.Severity.WARNING, wire.Severity.INFO]
    return sorted(found, key=lambda f: order.index(f.severity))


def _finding(severity: Severity, subject: str, message: str, remedy: str = "") -> wire.Finding:
    return wire.Finding(
        severity=convert.severity_to_wire(severity),
        subject=subject,
        message=message,
        remedy=remedy,
    )


def _store(c: Cluster) -> Iterator[wire.Finding]:
    if reason := c.state.degraded:
        text = f"cannot be written, the master serves from memory: {reason}"
        yield _finding(Severity.ERROR, "store", text, "look at the disk, or at etcd")
    else:
        yield _finding(Severity.INFO, "store", f"works ({c.store})")


def _restored(c: Cluster) -> Iterator[wire.Finding]:
    """What is left to do after a restore."""
    if text := c.restored.waits_for:
        yield _finding(Severity.WARNING, "store", text)
        return
    for node in c.restored.missing():
        text = "not back since the rebuild began: it is not known what it runs"
        if c.restored.from_backup:
            text = "not back since the restore: it is not known whether it runs something newer"
        remedy = f"start its agent; if it never comes back: piccolo remove node {node.name}"
        yield _finding(Severity.WARNING, f"node {node.name}", text, remedy)


def _from_backup(c: Cluster) -> Iterator[wire.Finding]:
    """What may not be as it was, after a restore: only people know."""
    now, restored = c.clock.utc(), c.restored.restored
    if restored is None or restored.backup_at is None:
        return
    since = max(restored.at, now - _RECENT)
    again = {
        e.subject
        for e in c.events.newest()
        if e.reason == "StartedAgain" and e.time >= since and c.state.workload(e.subject)
    }
    if again:
        names = words.some(sorted(again), _NAMED)
        text = f"started again, for they are in the backup, but no node had them: {names}"
        remedy = "piccolo delete workload NAME, for those that were deleted after the backup"
        yield _finding(Severity.WARNING, "workloads", text, remedy)
    if now - restored.at < _RECENT:
        text = f"labels, topology, and secrets that no workload uses are as in {restored.source}"
        yield _finding(Severity.WARNING, "backup", text, "set again what was changed after it")


def _backup(c: Cluster) -> Iterator[wire.Finding]:
    """Whether there is one, as far as the master knows: that it is kept well, nobody can tell."""
    taken, restored = c.state.get(keys.BACKED_UP, keys.BackedUp), c.restored.restored
    known = [taken.at] if taken else []
    known += [restored.backup_at] if restored and restored.backup_at else []
    remedy = "piccolo backup FILE"
    if known and c.clock.utc() - max(known) < _OLD:
        text = f"the last one is of {max(known):%Y-%m-%d %H:%M} UTC"
        yield _finding(Severity.INFO, "backup", text)
    elif known:
        text = f"the last one is of {max(known):%Y-%m-%d}, which is more than {_OLD.days} days ago"
        yield _finding(Severity.WARNING, "backup", text, remedy)
    elif c.state.declared():
        text = "none was ever taken: if the master's disk is lost, only the nodes know what runs"
        yield _finding(Severity.WARNING, "backup", text, remedy)


async def _audit(c: Cluster) -> list[wire.Finding]:
    report = await c.audit.verify()
    if report.findings:
        text = f"not intact: {report.findings[0]}"
        return [_finding(Severity.ERROR, "audit trail", text, "piccolo audit verify")]
    return [_finding(Severity.INFO, "audit trail", f"intact, {report.records} records")]


def _nodes(c: Cluster) -> Iterator[wire.Finding]:
    for node in c.state.nodes():
        status = c.state.status(node.id)
        if status.state is NodeState.NOT_READY:
            text = f"{status.reason}: {status.message}"
            remedy = f"piccolo describe node {node.name}"
            yield _finding(Severity.ERROR, f"node {node.name}", text, remedy)
        if c.duplicated(node.id):
            text = "a copy of this node has tried to join within the last hour"
            remedy = f"piccolo get events --node {node.name} tells from where"
            yield _finding(Severity.ERROR, f"node {node.name}", text, remedy)
        for condition in status.conditions:
            if condition.type == "RuntimeReady" and not condition.status:
                text = f"{condition.reason}: {condition.message}"
                yield _finding(Severity.WARNING, f"node {node.name}", text)
        if status.state is NodeState.PENDING:
            remedy = f"piccolo approve {node.name}"
            yield _finding(Severity.WARNING, f"node {node.name}", "waits for approval", remedy)
    if not c.state.nodes():
        yield _finding(Severity.INFO, "nodes", "none has joined", "piccolo token create")


def _workloads(views: WorkloadViews) -> Iterator[wire.Finding]:
    """Those that will not get as they are asked to be by themselves."""
    trouble = views.in_trouble()
    for workload in trouble:
        # Some copies run, or wait for their node, which has a finding of its own.
        bearable = workload.state == State.DEGRADED or workload.reason == "NodeNotReady"
        severity = Severity.WARNING if bearable else Severity.ERROR
        said = (workload.state, workload.reason, workload.message)
        text = ": ".join(dict.fromkeys(filter(None, said)))
        remedy = f"piccolo describe workload {workload.name}"
        yield _finding(severity, f"workload {workload.name}", text, remedy)
    if not trouble:
        yield _finding(Severity.INFO, "workloads", "none is in trouble")


def _certificates(c: Cluster) -> Iterator[wire.Finding]:
    now, trusted = c.clock.utc(), c.certificates.trust.fingerprints
    well = 0
    for certificate in c.certificates.newest():
        agent = certificate.role == Role.AGENT
        subject = f"{'node' if agent else certificate.role} {c.certificates.name_of(certificate)}"
        left = certificate.not_after - now
        life = certificate.not_after - certificate.not_before
        remedy = (
            "start its agent; after the grace, with a token: piccolo token create"
            if agent
            else "piccolo context renew, or revoke it if it is not used any more"
        )
        if certificate.issuer not in trusted and left > timedelta(0):
            text = "the certificate is of an authority that was retired: nobody is let in by it"
            remedy = "piccolo token create" if agent else "piccolo context create"
            yield _finding(Severity.ERROR if agent else Severity.WARNING, subject, text, remedy)
        elif left <= timedelta(0):
            text = f"the certificate expired at {certificate.not_after:%Y-%m-%d %H:%M} UTC"
            yield _finding(Severity.ERROR if agent else Severity.WARNING, subject, text, remedy)
        elif left < life * 0.2:
            text = f"the certificate expires at {certificate.not_after:%Y-%m-%d %H:%M} UTC"
            yield _finding(Severity.WARNING, subject, text, remedy)
        else:
            well += 1
    yield _finding(Severity.INFO, "certificates", f"{well} in order")


def _authorities(c: Cluster) -> Iterator[wire.Finding]:
    trust, now = c.certificates.trust, c.clock.utc()
    until = trust.current.certificate.not_valid_after_utc
    if until - now < _SOON:
        text = f"the cluster's authority expires at {until:%Y-%m-%d}"
        yield _finding(Severity.WARNING, "authority", text, "piccolo ca rotate")
    else:
        text = f"{trust.current.fingerprint}, until {until:%Y-%m-%d}"
        yield _finding(Severity.INFO, "authority", text)
    for fingerprint in map(fingerprint_of, trust.retiring):
        left = c.certificates.holders(fingerprint)
        if left:
            names = ", ".join(c.certificates.name_of(h) for h in left[:10])
            text = f"{fingerprint} was replaced; still on it: {names}"
            remedy = "nodes renew when they connect; clients: piccolo context renew"
            yield _finding(Severity.WARNING, "authority", text, remedy)
    if c.clock.utc() < trust.current.certificate.not_valid_before_utc:
        text = f"this machine's clock says {c.clock.utc():%Y-%m-%d %H:%M}, before the cluster began"
        yield _finding(Severity.ERROR, "clock", text, "set the clock")
