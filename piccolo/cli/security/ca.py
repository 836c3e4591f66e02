"""`piccolo ca`: the cluster's certificate authority, shown, replaced, and the old one retired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli.options import ContextOption, MasterOption, Output, OutputOption, TimeoutOption

if TYPE_CHECKING:
    from piccolo.cli import client
    from piccolo.rpc import wire

    _State = tuple[wire.GetAuthorityResponse, wire.GetNodesResponse]

_EVERY = 0.5  # s between two looks at the progress

app = typer.Typer(
    no_args_is_help=True,
    help="Look at the cluster's certificate authority, and replace it.",
    epilog="Example:  piccolo ca rotate",
)


@app.command()
def show(
    pem: Annotated[bool, typer.Option("--pem", help="Print the certificates themselves.")] = False,
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show whom the cluster trusts: its authority, and those it has replaced."""
    from piccolo.cli import client
    from piccolo.rpc import wire

    request = wire.GetAuthorityRequest()
    reply = client.call(master, timeout, lambda stub: stub.get_authority(request), context=context)
    if pem:
        print(reply.ca_pem, end="")
    else:
        _print(reply.authorities, output)


@app.command()
def rotate(
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap",
            metavar="DURATION",
            help="For how long the old authority is still trusted; else as node.yaml says.",
        ),
    ] = "",
    wait: Annotated[
        bool,
        typer.Option(help="Wait until every connected node has a certificate of the new one."),
    ] = True,
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Replace the cluster's authority. Nodes get new certificates while everything goes on.

    A node that is away gets its own when it comes back, until the old authority is retired.
    """
    from piccolo.cli import client
    from piccolo.cli.lookup import find
    from piccolo.cli.output import say
    from piccolo.cli.seconds import whole_seconds
    from piccolo.rpc import wire

    seconds = whole_seconds("--overlap", overlap) if overlap else 0
    request = wire.RotateAuthorityRequest(overlap_seconds=seconds)
    made = client.call(
        master, timeout, lambda stub: stub.rotate_authority(request), context=context
    )
    authorities = made.authorities
    if wait:
        authorities = _follow(
            # The context is read each time: the master renews its own.
            lambda: client.call_as(find(context), master, timeout, _fetch),
            timeout,
        )
    _print(authorities, output)
    say("clients renew their own: piccolo context renew; when all have: piccolo ca retire")


@app.command()
def retire(
    force: Annotated[
        bool, typer.Option("--force", help="Even if somebody is shut out by it.")
    ] = False,
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Trust the authorities that were replaced no longer, from now on.

    With --force it tells whom that shut out, and how each of them comes in again.
    """
    from piccolo.cli import client
    from piccolo.cli.output import say
    from piccolo.rpc import wire

    request = wire.RetireAuthorityRequest(force=force)
    reply = client.call(
        master, timeout, lambda stub: stub.retire_authority(request), context=context
    )
    _print(reply.authorities, output)
    if not reply.retired:
        say("there is no replaced authority to retire")
    for c in reply.shut_out:
        say(way_back(c), "yellow")


def way_back(c: wire.Certificate) -> str:
    """How somebody who was shut out comes in again."""
    import shlex

    name = shlex.quote(c.node_name or c.name)
    if c.role == "agent":
        how = f"a new token: piccolo token create --node {name}"
    else:
        how = f"another context: piccolo context create --role {c.role} --name {name} --out FILE"
    return f"{c.role if c.role != 'agent' else 'node'} {name} is shut out, and needs {how}"


async def _fetch(stub: client.Stub) -> _State:
    from piccolo.rpc import wire

    return (
        await stub.get_authority(wire.GetAuthorityRequest()),
        await stub.get_nodes(wire.GetNodesRequest()),
    )


def missing(
    authorities: Sequence[wire.Authority], nodes: Sequence[wire.Node]
) -> tuple[list[str], list[str]]:
    """Who has no certificate of the current authority: of the connected nodes, of the others."""
    current = {name for a in authorities if a.current for name in a.nodes}
    old = [n for n in nodes if n.name not in current]
    connected = [n.name for n in old if n.link is not None and n.link.connected]
    return connected, [n.name for n in old if n.name not in connected]


def _follow(ask: Callable[[], _State], patience: float) -> list[wire.Authority]:
    """Wait until no connected node is without; `patience` in seconds, for a master that is away."""
    import time

    from piccolo.cli.output import say
    from piccolo.core.errors import Unavailable

    told, heard = "", time.monotonic()
    while True:
        try:
            found, nodes = ask()
        except Unavailable:
            if time.monotonic() - heard > patience:
                raise
        else:
            heard = time.monotonic()
            waiting, away = missing(found.authorities, nodes.nodes)
            text = progress(len(nodes.nodes), waiting, away)
            if text != told:
                say(text)
                told = text
            if not waiting:
                return found.authorities
        time.sleep(_EVERY)


def progress(nodes: int, waiting: Sequence[str], away: Sequence[str]) -> str:
    done = nodes - len(waiting) - len(away)
    have = "has" if done == 1 else "have"
    text = f"{done} of {nodes} nodes {have} a certificate of the new authority"
    if waiting:
        text += f"; waiting for {', '.join(waiting)}"
    if away:
        text += f"; away, get theirs when they come back: {', '.join(away)}"
    return text


def _print(authorities: Sequence[wire.Authority], output: Output) -> None:
    from piccolo.cli.output import print_list
    from piccolo.cli.security.security_rows import AUTHORITY_COLUMNS, authority_dict

    print_list(
        authorities,
        AUTHORITY_COLUMNS,
        authority_dict,
        lambda a: a.fingerprint,
        output,
        none="the master names no authority",
    )
