"""What to type on the machine of a new node, with a token that was just made."""

from __future__ import annotations

import shlex
from typing import Any

from piccolo.cli.output import age, note, say
from piccolo.cli.security import security_rows
from piccolo.cli.show.rows import time_text
from piccolo.core.errors import Unavailable
from piccolo.rpc import wire


def join_command(reply: wire.CreateTokenResponse) -> str:
    """Where PICCOLO is installed."""
    assert reply.token is not None
    where = reply.master_addresses[0] if reply.master_addresses else "HOST"
    words = ["piccolo", "agent", "--master", where, "--token", reply.text]
    return shlex.join(words + _limits(reply.token))


def install_command(reply: wire.CreateTokenResponse) -> str:
    """Where it is not, as root: everything comes from the master, who is known by its key."""
    assert reply.token is not None
    assert reply.install is not None
    fetch = ["curl", "-fsSk", "--pinnedpubkey", reply.install.key_pin, reply.install.urls[0]]
    run = ["sh", "-s", "--", "--token", reply.text, *_limits(reply.token)]
    return f"{shlex.join(fetch)} | {shlex.join(run)}"


def _limits(token: wire.Token) -> list[str]:
    words = ["--name", token.node] if token.node else []
    return words + (["--type", security_rows.token_type(token)] if token.type else [])


def as_dict(reply: wire.CreateTokenResponse) -> dict[str, Any]:
    """The field names are a promise."""
    assert reply.token is not None
    found = security_rows.token_dict(reply.token)
    found |= {"token": reply.text, "command": join_command(reply)}
    found["masters"] = list(reply.master_addresses)
    if offer := reply.install:
        found["install"] = {
            "command": install_command(reply),
            "urls": list(offer.urls),
            "keyPin": offer.key_pin,
            "keyUntil": time_text(offer.key_until),
            "version": offer.version,
            "machines": list(offer.machines),
        }
    return found


def show(reply: wire.CreateTokenResponse, *, install: bool) -> None:
    """The command on stdout, what there is to know of it on stderr."""
    token, offer = reply.token, reply.install
    assert token is not None
    if install and offer is None:
        raise Unavailable(
            f"this master is older than --install: update it, or run `piccolo token create`; token"
            f" {token.id} was made, piccolo token revoke {token.id} takes it back"
        )
    where = f"on {token.node}" if token.node else "on the machine of the new node"
    times = "once" if token.uses == 1 else f"{token.uses} times"
    say(
        f"run this {where}{', as root' if install else ''}; token {token.id} can be used {times},"
        f" for {age(token.created_at, token.expires_at)}"
    )
    if not install or offer is None:
        print(join_command(reply))
        others = reply.master_addresses[1:]
    else:
        print(install_command(reply))
        others = offer.urls[1:]
    if others:
        say(f"this master has other addresses too: {', '.join(others)}")
    if offer is None:
        return
    if not install:
        say("for a machine without PICCOLO: piccolo token create --install")
    elif offer.key_until and token.expires_at and offer.key_until < token.expires_at:
        when = f"{offer.key_until:%Y-%m-%d %H:%M} UTC"
        note(f"at {when} the master gets another key: after that, make a new line")
