"""`piccolo token`: join tokens, by which nodes come into the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli.options import ContextOption, MasterOption, Output, OutputOption, TimeoutOption
from piccolo.core.errors import InvalidSpec

if TYPE_CHECKING:
    from piccolo.rpc import wire

_LONGEST = 366 * 86_400  # s: as master.security.tokens.MAX_TTL says

app = typer.Typer(
    no_args_is_help=True,
    help="Make and revoke join tokens, by which nodes come into the cluster.",
    epilog="Example:  piccolo token create --node press-1",
)


@app.command()
def create(
    ttl: Annotated[
        str,
        typer.Option(
            "--ttl", metavar="DURATION", help="How long it holds: 30m, 24h, 7d; at most 366d."
        ),
    ] = "24h",
    uses: Annotated[
        int, typer.Option("--uses", min=1, help="How many nodes may join with it.")
    ] = 1,
    node: Annotated[
        str, typer.Option("--node", metavar="NAME", help="The only node that it lets in.")
    ] = "",
    type: Annotated[
        str, typer.Option("--type", help="Only nodes of this type: embedded or cloud.")
    ] = "",
    install: Annotated[
        bool,
        typer.Option(
            "--install", help="For a machine without PICCOLO: it gets it from the master."
        ),
    ] = False,
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Make a token, and print the command by which a node joins with it.

    The token is shown this once: the master keeps a hash of it only.
    """
    from piccolo.cli import client
    from piccolo.cli.output import dump
    from piccolo.cli.seconds import whole_seconds
    from piccolo.cli.security import token_commands
    from piccolo.rpc import wire

    request = wire.CreateTokenRequest(
        ttl_seconds=whole_seconds("--ttl", ttl, _LONGEST),
        uses=uses,
        node=node,
        type=_type(type),
        install=install,
    )
    reply = client.call(master, timeout, lambda stub: stub.create_token(request), context=context)
    assert reply.token is not None
    if output in (Output.JSON, Output.YAML):
        dump(token_commands.as_dict(reply), output)
    elif output is Output.NAME:
        print(reply.token.id)
    else:
        token_commands.show(reply, install=install)


def _type(text: str) -> wire.NodeType:
    from piccolo.rpc import wire

    types = {
        "": wire.NodeType.UNSPECIFIED,
        "embedded": wire.NodeType.EMBEDDED,
        "cloud": wire.NodeType.CLOUD,
    }
    if text not in types:
        raise InvalidSpec(f'--type: "{text}" is no type of node: write embedded or cloud')
    return types[text]


@app.command("list")
def list_(
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List the tokens, without their secrets, which nobody keeps."""
    from piccolo.cli import client
    from piccolo.cli.output import print_list
    from piccolo.cli.security import security_rows
    from piccolo.rpc import wire

    request = wire.GetTokensRequest()
    reply = client.call(master, timeout, lambda stub: stub.get_tokens(request), context=context)
    print_list(
        reply.tokens,
        security_rows.TOKEN_COLUMNS,
        security_rows.token_dict,
        lambda t: t.id,
        output,
        none="no tokens; `piccolo token create` makes one",
    )


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="As `piccolo token list` shows it.")],
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Make a token worthless. Nodes that joined with it stay in the cluster."""
    from piccolo.cli import client
    from piccolo.core.security.token import parse_id
    from piccolo.rpc import wire

    request = wire.RevokeTokenRequest(id=parse_id(id))
    reply = client.call(master, timeout, lambda stub: stub.revoke_token(request), context=context)
    assert reply.token is not None
    joined = reply.token.used_by
    stay = "stays" if len(joined) == 1 else "stay"
    rest = f"; {', '.join(joined)} joined with it and {stay}" if joined else ""
    print(f"token {reply.token.id} revoked{rest}")
