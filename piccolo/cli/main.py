"""The `piccolo` program: its verbs, and the mapping of errors to messages and exit codes.

Start-up time is part of the product: nothing here imports gRPC, pydantic or YAML before a command
needs it.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated, NoReturn

import typer

from piccolo import __version__
from piccolo.cli import backup, config, exit_codes, nodes, restore
from piccolo.cli.check import check
from piccolo.cli.is_online import is_online
from piccolo.cli.options import ContextOption, MasterOption, Output, OutputOption, TimeoutOption
from piccolo.cli.roles import agent, master
from piccolo.cli.security import audit, ca, secret, token
from piccolo.cli.security import context as contexts
from piccolo.cli.show import describe, doctor, get, top
from piccolo.cli.verbs import Nameless, Verbs
from piccolo.cli.workloads import apply, delete, history, restart
from piccolo.cli.workloads import validate as documents
from piccolo.core.errors import PiccoloError

app = typer.Typer(
    name="piccolo",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="PICCOLO runs 2 to 10 embedded Linux machines as one cluster.",
    epilog="First steps:  piccolo master  ·  piccolo token create  ·  piccolo apply -f FILE",
)


def _version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


app.command(rich_help_panel="Roles")(master)
app.command(rich_help_panel="Roles")(agent)
app.command(cls=Nameless)(apply.apply)
app.command(cls=Nameless)(apply.diff)
app.add_typer(delete.app, name="delete", cls=Verbs)
app.add_typer(restart.app, name="restart", cls=Verbs)
app.add_typer(history.history_app, name="history", cls=Verbs)
app.add_typer(history.rollback_app, name="rollback", cls=Verbs)
app.add_typer(get.app, name="get", cls=Verbs)
app.add_typer(describe.app, name="describe", cls=Verbs)
app.add_typer(top.app, name="top", cls=Verbs)
app.add_typer(audit.app, name="audit", cls=Verbs)
app.add_typer(nodes.label_app, name="label", cls=Verbs)
app.add_typer(nodes.remove_app, name="remove", cls=Verbs)
app.add_typer(contexts.app, name="context", cls=Verbs)
app.add_typer(config.app, name="config", cls=Verbs)
app.add_typer(token.app, name="token", cls=Verbs)
app.add_typer(ca.app, name="ca", cls=Verbs)
app.command()(doctor.doctor)
app.command()(check)
app.command("is-online")(is_online)
app.add_typer(secret.app, name="secret", cls=Verbs)
app.add_typer(secret.store_app, name="store", cls=Verbs)
app.command()(backup.backup)
app.command()(restore.restore)
app.command(cls=Nameless)(documents.validate)
app.command()(documents.schema)
app.command()(nodes.approve)
app.command()(nodes.health)


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="As `piccolo version`."),
    ] = False,
) -> None: ...


@app.command()
def status(
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show the whole cluster on one screen."""
    from piccolo.cli import client
    from piccolo.cli.show.status import show_status
    from piccolo.rpc import wire

    reply = client.call(
        master,
        timeout,
        lambda stub: stub.get_cluster_status(wire.GetClusterStatusRequest()),
        context=context,
    )
    show_status(reply, output)


@app.command()
def version(
    output: Annotated[Output, typer.Option("-o", "--output")] = Output.TABLE,
) -> None:
    """Show the version of this program."""
    import platform

    found = {"version": __version__, "python": platform.python_version()}
    if output in (Output.JSON, Output.YAML):
        from piccolo.cli.output import dump

        dump(found, output)
    else:
        print(f"piccolo {found['version']} (Python {found['python']})")


def main() -> NoReturn:
    """The entry point. Never shows a traceback for what a user can cause."""
    code = _run()
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        code = exit_codes.OK
    except OSError as error:
        print(f"piccolo: cannot write the output: {error.strerror}", file=sys.stderr)
        code = exit_codes.FAILED
    if threading.active_count() == 1:
        os._exit(code)  # taking the interpreter apart would take 20 ms more, of some 180
    sys.exit(code)


def _run() -> int:
    try:
        app(prog_name="piccolo")  # under whatever name it was started
    except SystemExit as end:  # typer ends every command by it, with a number
        if isinstance(end.__context__, BrokenPipeError):
            return exit_codes.OK  # typer says 1; but whoever reads has seen enough
        return int(end.code or exit_codes.OK)
    except PiccoloError as error:
        from piccolo.roles.logs import complaint

        print(complaint(f"piccolo: {error}"), file=sys.stderr)
        return exit_codes.of(error)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        return exit_codes.OK
    return exit_codes.OK
