"""`piccolo doctor`: what is wrong, or soon will be, here and in the cluster, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from piccolo.cli.options import ContextOption, MasterOption, Output, OutputOption, TimeoutOption
from piccolo.core.errors import PermissionDenied, PiccoloError

if TYPE_CHECKING:
    from piccolo.cli import client
    from piccolo.cli.lookup import Found
    from piccolo.rpc import wire


def doctor(
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Look for what is wrong, or soon will be, and say what to do. Exit code 1 for errors.

    Without the master it tells at least what is wrong here. -o name names what is not well.
    """
    from piccolo.cli import exit_codes
    from piccolo.cli.output import dump
    from piccolo.cli.security.security_rows import finding_dict
    from piccolo.rpc import wire

    order = [wire.Severity.ERROR, wire.Severity.WARNING, wire.Severity.INFO]
    found = sorted(
        examine(context, master, timeout),
        key=lambda f: order.index(f.severity) if f.severity in order else len(order),
    )
    if output in (Output.JSON, Output.YAML):
        dump([finding_dict(f) for f in found], output)
    elif output is Output.NAME:
        for f in found:
            if f.severity != wire.Severity.INFO:
                print(f.subject)
    else:
        _show(found)
    if any(f.severity == wire.Severity.ERROR for f in found):
        raise typer.Exit(exit_codes.FAILED)


def examine(named: str, master: Sequence[str] | None, timeout: float) -> Iterator[wire.Finding]:
    """What there is to say, first about this side; never raises our errors."""
    from piccolo.cli import client
    from piccolo.cli.lookup import find
    from piccolo.rpc import wire

    try:
        found = find(named)
        client.tls_of(found)
    except PiccoloError as error:
        yield wire.Finding(severity=wire.Severity.ERROR, subject="context", message=str(error))
        return
    own = of_context(found, datetime.now(UTC))
    try:
        findings, ca_pem = client.call_as(found, master, timeout, _ask)
    except PiccoloError as error:
        subject = "master"
        if isinstance(error, PermissionDenied) and own.severity == wire.Severity.INFO:
            subject = "context"  # it holds, and is refused all the same: well it is not
        else:
            yield own
        yield wire.Finding(severity=wire.Severity.ERROR, subject=subject, message=str(error))
        return
    yield own
    yield from of_trust(found, ca_pem)
    yield from findings


async def _ask(stub: client.Stub) -> tuple[list[wire.Finding], str]:
    from piccolo.rpc import wire

    reply = await stub.diagnose(wire.DiagnoseRequest())
    authority = await stub.get_authority(wire.GetAuthorityRequest())
    return reply.findings, authority.ca_pem


def of_context(found: Found, now: datetime) -> wire.Finding:
    """Whether our own certificate holds, and for how long."""
    from piccolo.cli.output import age
    from piccolo.rpc import wire

    c, severity = found.context, wire.Severity
    until = f"{c.not_after:%Y-%m-%d %H:%M} UTC"
    finding = wire.Finding(severity=severity.ERROR, subject="context")
    if now < c.not_before:
        finding.message = (
            f"{found} is not valid yet by this machine's clock, which says {now:%Y-%m-%d %H:%M} UTC"
        )
        finding.remedy = "set the clock"
    elif c.expired(now):
        finding.message = (
            f"{found} expired at {until} by this machine's clock ({now:%Y-%m-%d %H:%M} UTC)"
        )
        finding.remedy = "set the clock if it is wrong; else on the master: piccolo context create"
    elif c.expires_soon(now):
        finding.severity = severity.WARNING
        finding.message = f"{found} expires at {until}"
        finding.remedy = "piccolo context renew"
    else:
        finding.severity = severity.INFO
        finding.message = f"{found} holds for {age(now, c.not_after)} more"
    return finding


def of_trust(found: Found, ca_pem: str) -> Iterator[wire.Finding]:
    """Whether we know the authority that the cluster has now."""
    from piccolo.core.security.token import fingerprint
    from piccolo.rpc import wire
    from piccolo.security.tls import certificates_in

    theirs, ours = certificates_in(ca_pem), certificates_in(found.context.ca)
    if theirs and theirs[0] not in ours:
        yield wire.Finding(
            severity=wire.Severity.WARNING,
            subject="context",
            message=f"{found} does not know the cluster's new authority"
            f" {fingerprint(theirs[0])}: it works until the old one is retired",
            remedy="piccolo context renew",
        )


def _show(findings: Sequence[wire.Finding]) -> None:
    from piccolo.cli.output import clean, paint
    from piccolo.rpc import wire

    marks = {
        wire.Severity.ERROR: paint("✗", "red"),
        wire.Severity.WARNING: paint("!", "yellow"),
        wire.Severity.INFO: paint("✓", "green"),
    }
    for f in findings:
        message = "\n    ".join(clean(line) for line in f.message.splitlines())
        print(f"{marks.get(f.severity, '?')} {paint(clean(f.subject), 'bold')}: {message}")
        if f.remedy:
            print(f"    → {clean(f.remedy)}")
    counts = []
    for severity, word in ((wire.Severity.ERROR, "error"), (wire.Severity.WARNING, "warning")):
        number = sum(f.severity == severity for f in findings)
        counts.append(f"{number} {word}{'' if number == 1 else 's'}")
    print(", ".join(counts))
