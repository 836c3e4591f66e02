"""`piccolo secret` and `piccolo store`: what the master keeps encrypted, and its key."""

from __future__ import annotations

from typing import Annotated

import typer

from piccolo.cli.options import ContextOption, MasterOption, Output, OutputOption, TimeoutOption
from piccolo.core.errors import InvalidSpec

app = typer.Typer(no_args_is_help=True, help="Set, list and delete secrets.")
store_app = typer.Typer(no_args_is_help=True, help="Look after the master's store.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
MAX_INPUT = 1024 * 1024  # bytes of a file; what the master takes is less


@app.command("set")
def set_secret(
    name: NameArgument,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE… | -", help="-: lines KEY=VALUE from the standard input."
        ),
    ] = None,
    from_file: Annotated[
        list[str] | None,
        typer.Option(
            "--from-file",
            metavar="KEY=PATH",
            help="The value is what is in the file, as it is. PATH -: the standard input.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put this in the place of the secret there is.")
    ] = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Keep values that nobody is to see. They are encrypted, and never shown again.

    Values on a command line can be seen by others on this machine, and stay in the shell's history:
    prefer --from-file or -.

    Example:  piccolo secret set wifi --from-file password=wifi.txt
    """
    from piccolo.cli import client
    from piccolo.rpc import wire

    data = read_values(values or [], from_file or [])
    request = wire.PutSecretRequest(name=name, data=data, replace=replace)
    reply = client.call(master, timeout, lambda stub: stub.put_secret(request), context=context)
    assert reply.secret is not None
    used = ", ".join(reply.used_by)
    anew = f"; the containers of {used} are made anew with it" if used else ""
    print(f"secret {reply.secret.name}: {', '.join(reply.secret.keys)}{anew}")


def read_values(values: list[str], files: list[str]) -> dict[str, bytes]:
    """What the command line, the files and the standard input give, by key.

    Raises `InvalidSpec`, which never shows what may be a value.
    """
    from_input = (values.count("-"), sum(f.endswith("=-") for f in files))
    if sum(from_input) > 1:
        raise InvalidSpec("the standard input can be read once only")
    pairs: list[tuple[str, bytes]] = []
    for number, text in enumerate(values, 1):
        if text == "-":
            lines = enumerate(_read("-").split(b"\n"), 1)
            pairs += [
                _split(line.removesuffix(b"\r"), f"line {n} of the standard input")
                for n, line in lines
                if line.strip() and not line.lstrip().startswith(b"#")
            ]
        else:
            pairs.append(_split(text.encode("utf-8", "surrogateescape"), f"value {number}"))
    for number, text in enumerate(files, 1):
        key, path = _split(text.encode("utf-8", "surrogateescape"), f"--from-file {number}")
        pairs.append((key, _read(path.decode("utf-8", "surrogateescape"))))
    data = dict(pairs)
    if len(data) < len(pairs):
        raise InvalidSpec("a key is given twice")
    return data


def _split(pair: bytes, what: str) -> tuple[str, bytes]:
    key, equals, value = pair.partition(b"=")
    if not equals or not key.strip():
        raise InvalidSpec(f"{what} is not of the form KEY=…")
    try:
        return key.decode().strip(), value
    except UnicodeDecodeError:
        raise InvalidSpec(f"the key of {what} is no text") from None


def _read(path: str) -> bytes:
    import sys

    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_INPUT + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_INPUT + 1)
    except OSError as error:
        raise InvalidSpec(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_INPUT:
        raise InvalidSpec(f"{path} has more than {MAX_INPUT} bytes: too much for a secret")
    return data


@app.command("list")
def list_secrets(
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List the secrets: their names and keys, never their values."""
    from piccolo.cli import client
    from piccolo.cli.output import Column, Table, age, dump, say
    from piccolo.cli.show.rows import time_text
    from piccolo.rpc import wire

    request = wire.GetSecretsRequest()
    reply = client.call(master, timeout, lambda stub: stub.get_secrets(request), context=context)
    if output in (Output.JSON, Output.YAML):
        dump(
            [
                {
                    "name": s.name,
                    "keys": list(s.keys),
                    "createdAt": time_text(s.created_at),
                    "changedAt": time_text(s.changed_at),
                    "revision": s.revision,
                }
                for s in reply.secrets
            ],
            output,
        )
    elif output is Output.NAME:
        for s in reply.secrets:
            print(s.name)
    elif reply.secrets:
        columns: list[Column[wire.Secret]] = [
            Column("NAME", lambda s: s.name),
            Column("KEYS", lambda s: ", ".join(s.keys)),
            Column("AGE", lambda s: age(s.created_at)),
            Column("CHANGED", lambda s: age(s.changed_at) + " ago"),
        ]
        Table(columns, output is Output.WIDE).print(reply.secrets)
    else:
        say("no secrets; to make one: piccolo secret set NAME --from-file KEY=PATH")


@app.command("delete")
def delete_secret(
    name: NameArgument,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Delete a secret, for ever."""
    from piccolo.cli import client
    from piccolo.cli.output import note
    from piccolo.rpc import wire

    request = wire.DeleteSecretRequest(name=name)
    reply = client.call(master, timeout, lambda stub: stub.delete_secret(request), context=context)
    assert reply.secret is not None
    print(f"secret {reply.secret.name} deleted")
    if reply.used_by:
        them = "it" if len(reply.used_by) == 1 else "them"
        used = ", ".join(reply.used_by)
        note(f"still named by {used}: what runs of {them} runs on, but cannot be made anew")


@store_app.command("rotate-key")
def rotate_key(
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 300.0,
) -> None:
    """Make a new key for the store, encrypt everything with it, and forget the old one.

    Copies of the store from before need the old key: keep a copy of that too, as long as of them.
    """
    from piccolo.cli import client
    from piccolo.rpc import wire

    request = wire.RotateStoreKeyRequest()
    reply = client.call(
        master, timeout, lambda stub: stub.rotate_store_key(request), context=context
    )
    print(
        f"the store has a new key, {reply.key_id}; {reply.values} values were encrypted with it."
        " Back up pki/store.key in the master's data directory"
    )
