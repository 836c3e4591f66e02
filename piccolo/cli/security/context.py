"""`piccolo context`: who you are, in which cluster. What the master has to do with contexts
stands in `context_certificates`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli.options import ContextOption, Output, OutputOption
from piccolo.cli.security.context_certificates import create, renew, revoke
from piccolo.core.errors import Conflict, PiccoloError

if TYPE_CHECKING:
    from piccolo.security.context import Context

app = typer.Typer(
    no_args_is_help=True,
    help="Choose, make and renew contexts: who you are, in which cluster.",
    epilog="Example:  piccolo context create --role viewer --name wall --out wall.yaml",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


@app.command("list")
def list_(output: OutputOption = Output.TABLE) -> None:
    """List the contexts that are kept in your configuration directory."""
    from piccolo.cli import lookup
    from piccolo.cli.output import print_list, say
    from piccolo.cli.security.context_rows import CONTEXT_COLUMNS, Kept, row_dict
    from piccolo.security.context import load

    current, kept = lookup.current(), []
    for name in lookup.names():
        path = lookup.path_of(name)
        try:
            kept.append(Kept(name, path, name == current, load(path), ""))
        except PiccoloError as error:
            kept.append(Kept(name, path, name == current, None, str(error)))
    none = f"no contexts in {lookup.config_dir()}; `piccolo context import FILE` adds one"
    print_list(kept, CONTEXT_COLUMNS, row_dict, lambda k: k.name, output, none=none)
    for k in kept:
        if k.problem:
            say(k.problem, "yellow")


@app.command()
def use(name: NameArgument) -> None:
    """Use this context from now on, unless --context or $PICCOLO_CONTEXT says otherwise."""
    import os

    from piccolo.cli import lookup
    from piccolo.cli.output import say
    from piccolo.security.context import load
    from piccolo.security.files import write_private

    found = load(lookup.path_of(name))
    write_private(lookup.config_dir() / "current", f"{name}\n")
    print(f"context {name}: {found.role} of the cluster {found.cluster}")
    if os.environ.get(lookup.VARIABLE):
        say(f"${lookup.VARIABLE} is set, and goes before it", "yellow")


@app.command()
def show(context: ContextOption = "", output: OutputOption = Output.TABLE) -> None:
    """Show the context in use and where it is, without its key."""
    from piccolo.cli import lookup
    from piccolo.cli.output import dump
    from piccolo.cli.security.context_rows import context_dict

    found = lookup.find(context)
    data = context_dict(found.context, found.path)
    if output in (Output.JSON, Output.YAML):
        dump(data, output)
    elif output is Output.NAME:
        print(found.context.name)
    else:
        for key, value in data.items():
            title = {"notBefore": "not before"}.get(key, key)
            print(f"{title + ':':<14}{', '.join(value) if isinstance(value, list) else value}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `piccolo context create` made.")],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What to call it; else as it says itself.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the one of that name.")
    ] = False,
) -> None:
    """Keep a context in your configuration directory; the first one comes into use at once."""
    from piccolo.cli import lookup
    from piccolo.cli.output import say
    from piccolo.security.context import check_name, load, save
    from piccolo.security.files import private_dir, write_private

    found = load(file)
    name = check_name(name, "--name") if name else found.name
    path = lookup.path_of(name)
    private_dir(path.parent)
    if path.exists() and not replace:
        raise Conflict(f"there is a context {name} already: choose another --name, or --replace it")
    save(path, _renamed(found, name))
    if not lookup.current():
        write_private(lookup.config_dir() / "current", f"{name}\n")
    used = "in use" if lookup.current() == name else f"to use it: piccolo context use {name}"
    print(f"context {name} imported, {found.role} of the cluster {found.cluster}; {used}")
    say(f"{file} can be deleted now: it holds a key")


def _renamed(context: Context, name: str) -> Context:
    from dataclasses import replace

    return replace(context, name=name)


for command in (create, renew, revoke):
    app.command()(command)
