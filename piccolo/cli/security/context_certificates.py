"""`piccolo context create`, `renew`, `revoke`: the certificates in contexts, and their end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli.options import ContextOption, MasterOption, TimeoutOption
from piccolo.core.errors import Conflict, InvalidSpec

if TYPE_CHECKING:
    from piccolo.cli.lookup import Found
    from piccolo.rpc import wire
    from piccolo.security.context import Context

_MASTERS_OWN = ("admin", "admin")  # role and name of the context that the master keeps for itself
_LONGEST = 3650 * 86_400  # s: as master.api_server.security_calls.MAX_CLIENT_LIFETIME says


def create(
    role: Annotated[
        str, typer.Option("--role", help="admin: may do everything; viewer: may look.")
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of the client: a person or a program.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it (0600).")],
    ttl: Annotated[
        str, typer.Option("--ttl", metavar="DURATION", help="How long it holds: 12h, 90d.")
    ] = "365d",
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Make a context for a further client: a key, made here, and a certificate for it.

    Give FILE to whom it is for, over a way you trust: `piccolo context import FILE`. Only who has
    it has the key; the master keeps none.
    """
    from piccolo.cli import client
    from piccolo.cli.seconds import whole_seconds
    from piccolo.rpc import wire
    from piccolo.security.context import save
    from piccolo.security.request import make_key, make_request

    _refuse_existing(out)
    seconds, key = whole_seconds("--ttl", ttl, _LONGEST), make_key()
    request = wire.IssueCertificateRequest(
        csr_pem=make_request(key), role=role, name=name, ttl_seconds=seconds
    )
    reply = client.call(
        master, timeout, lambda stub: stub.issue_certificate(request), context=context
    )
    made = _made(reply, role, name, key)
    save(out, made)
    print(f"{out}: {role} {name}, until {made.not_after:%Y-%m-%d %H:%M} UTC")


def _refuse_existing(out: Path) -> None:
    """Before a certificate is made that could not be kept."""
    if out.exists():
        raise Conflict(f"{out} exists already: name another file, or remove it first")
    if not out.parent.is_dir():
        raise InvalidSpec(f"--out: there is no directory {out.parent}")


def _made(reply: wire.IssueCertificateResponse, role: str, name: str, key: str) -> Context:
    from piccolo.security.context import Context

    cluster, signed = reply.cluster, reply.certificate
    assert cluster is not None
    assert signed is not None
    assert signed.not_before is not None
    assert signed.not_after is not None
    return Context(
        name=name,
        cluster=cluster.id,
        role=role,
        masters=tuple(cluster.master_addresses),
        not_before=signed.not_before,
        not_after=signed.not_after,
        ca=signed.ca_pem,
        certificate=signed.certificate_pem,
        key=key,
    )


def renew(
    context: ContextOption = "", master: MasterOption = None, timeout: TimeoutOption = 10.0
) -> None:
    """Give the context in use a new key and a new certificate, for as long as it had.

    Its file is rewritten in place, whole or not at all. The old certificate holds until it expires:
    if it has leaked, revoke it.
    """
    from dataclasses import replace

    from piccolo.cli import client, lookup
    from piccolo.cli.output import say
    from piccolo.rpc import wire
    from piccolo.security.context import save
    from piccolo.security.request import make_key, make_request

    found = lookup.find(context)
    key = make_key()
    request = wire.RenewOwnCertificateRequest(csr_pem=make_request(key))
    reply = client.call_as(found, master, timeout, lambda stub: stub.renew_own_certificate(request))
    signed = reply.certificate
    assert signed is not None
    assert signed.not_before is not None
    assert signed.not_after is not None
    renewed = replace(
        found.context,
        not_before=signed.not_before,
        not_after=signed.not_after,
        ca=signed.ca_pem,
        certificate=signed.certificate_pem,
        key=key,
    )
    save(found.path, renewed)
    print(f"{found} renewed, until {signed.not_after:%Y-%m-%d %H:%M} UTC")
    say(
        f"the old certificate holds until {found.context.not_after:%Y-%m-%d %H:%M} UTC; if it has"
        f" leaked: piccolo context revoke {_serial(found.context)}"
    )


def _serial(context: Context) -> str:
    from piccolo.security.authority import load_certificate, serial_of

    return serial_of(load_certificate(context.certificate))


def revoke(
    which: Annotated[
        str,
        typer.Argument(
            metavar="NAME|SERIAL",
            help="A client, with all its certificates, or one of `piccolo get certificates`.",
        ),
    ],
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Refuse a client from now on, and end what it has running.

    A node is shut out by `piccolo remove node`.
    """
    from piccolo.cli import client, lookup
    from piccolo.cli.output import say
    from piccolo.rpc import wire

    found = lookup.find(context)  # before: the master may make its own anew at once
    request = wire.RevokeCertificateRequest(serial=which)
    reply = client.call(
        master, timeout, lambda stub: stub.revoke_certificate(request), context=context
    )
    for c in reply.revoked:
        until = f", which was to hold until {c.not_after:%Y-%m-%d}" if c.not_after else ""
        print(f"{c.role} {c.node_name or c.name}: certificate {c.serial} revoked{until}")
    for note in _consequences(found, which, reply.revoked):
        say(note, "yellow")


def _consequences(found: Found, which: str, revoked: Sequence[wire.Certificate]) -> Iterator[str]:
    """For whoever has revoked the context in use, or the one that the master keeps for itself."""
    serial = _serial(found.context)
    own = any(c.serial == serial for c in revoked)
    if own:
        yield f"that was your own: {found} is refused from now on"
    if any((c.role, c.name) == _MASTERS_OWN and (own or c.name == which) for c in revoked):
        yield "the master makes its admin.yaml anew within seconds; copies of it are refused"
    elif own:
        yield "to get another, on the master's machine: piccolo context create"
