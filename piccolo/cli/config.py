"""`piccolo config`: files of configuration checked, shown and begun. No master is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piccolo.cli.options import LogFormatOption, LogLevelOption, Output, OutputOption
from piccolo.cli.role_options import (
    CaPinOption,
    ConfigOption,
    DataDirOption,
    LabelOption,
    LinkOption,
    ListenOption,
    MastersOption,
    NodeNameOption,
    PodmanSocketOption,
    RoleOption,
    SanOption,
    StoreOption,
    TokenFileOption,
    TypeOption,
    given,
    labels_of,
)
from piccolo.cli.verbs import Verbs
from piccolo.core.errors import InvalidSpec
from piccolo.core.roles import FILES, Role

if TYPE_CHECKING:
    from piccolo.config.checking import Checked, Remark

INSTALLED = Path("/etc/piccolo")  # where an installed service has its file

app = typer.Typer(
    no_args_is_help=True,
    help="Check node.yaml and nodeagent.yaml, and show what holds and why.",
    epilog="Example:  piccolo config show agent --config /etc/piccolo/nodeagent.yaml",
)
show_app = typer.Typer(
    help="Show what a role would go by, and where each value comes from.",
    epilog="Example:  piccolo config show master --config node.yaml --listen 10.0.0.1",
)
app.add_typer(show_app, name="show", cls=Verbs)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="node.yaml or nodeagent.yaml.")],
    role: Annotated[
        Role | None, typer.Option("--role", help="Whose it is, where its keys do not tell.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a file of configuration in full. Exit code 2 for problems.

    Example:  piccolo config check /etc/piccolo/node.yaml
    """
    from piccolo.cli import exit_codes
    from piccolo.cli.output import dump
    from piccolo.config.checking import check as check_file

    found = check_file(file, role)
    if output in (Output.JSON, Output.YAML):
        dump(_checked_dict(found), output)
    elif output is Output.NAME:
        print(found.role)
    else:
        _show_checked(found)
    if found.problems:
        raise typer.Exit(exit_codes.USAGE)


@app.command()
def template(
    role: Annotated[Role, typer.Argument(metavar="master|agent", help="Whose it is to be.")],
) -> None:
    """Print a file to begin with: every key, explained, at its default.

    Example:  piccolo config template master > node.yaml
    """
    from piccolo.config.template import template as text_of

    print(text_of(role), end="")


@show_app.callback(invoke_without_command=True)
def show(
    context: typer.Context, config: ConfigOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Of the role that the file is for, when none is named."""
    if context.invoked_subcommand is not None:
        if config is not None:
            verb = f"piccolo config show {context.invoked_subcommand}"
            raise InvalidSpec(f"--config goes behind the role: {verb} --config {config}")
        return
    if config is None:
        raise InvalidSpec(
            "whose configuration? Say piccolo config show master, piccolo config show agent, or"
            " name the file with --config"
        )
    from piccolo.config.checking import check as check_file

    show_role(check_file(config).role, config, {}, output)


@show_app.command("master")
def show_master(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    listen: ListenOption = None,
    store: StoreOption = None,
    san: SanOption = None,
    log_level: LogLevelOption = None,
    log_format: LogFormatOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what `piccolo master` with these options would go by, here and now."""
    flags = given(
        data_dir=data_dir,
        listen=listen,
        store=store,
        san=san,
        log_level=log_level,
        log_format=log_format,
    )
    show_role(Role.MASTER, config, flags, output)


@show_app.command("agent")
def show_agent(
    master: MastersOption = None,
    name: NodeNameOption = None,
    token_file: TokenFileOption = None,
    ca_pin: CaPinOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    podman_socket: PodmanSocketOption = None,
    label: LabelOption = None,
    role: RoleOption = None,
    type: TypeOption = None,
    link: LinkOption = None,
    log_level: LogLevelOption = None,
    log_format: LogFormatOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what `piccolo agent` with these options would go by, here and now."""
    flags = given(
        masters=master,
        name=name,
        data_dir=data_dir,
        podman_socket=podman_socket,
        token_file=token_file,
        ca_pin=ca_pin,
        labels=labels_of(label),
        role=role,
        type=type,
        link=link,
        log_level=log_level,
        log_format=log_format,
    )
    show_role(Role.AGENT, config, flags, output)


def show_role(role: Role, config: Path | None, flags: dict[str, Any], output: Output) -> None:
    """Raises `InvalidSpec` for what the role would refuse to start with."""
    from piccolo.cli.config_rows import VALUE_COLUMNS, value_dict
    from piccolo.cli.output import Table, dump, note
    from piccolo.config.agent import resolve_agent
    from piccolo.config.master import resolve_master

    resolve = resolve_master if role is Role.MASTER else resolve_agent
    found = resolve(config, os.environ, flags)
    notices = list(found.notices)
    if config is None and (installed := INSTALLED / FILES[role]).exists():
        notices.append(f"{installed} is there, and is not read without --config {installed}")
    if output in (Output.JSON, Output.YAML):
        data = {
            "role": str(role),
            "file": None if config is None else str(config),
            "values": [value_dict(value) for value in found.values],
            "notices": notices,
        }
        dump(data, output)
    elif output is Output.NAME:
        for value in found.values:
            print(value.key)
    else:
        Table(VALUE_COLUMNS, output is Output.WIDE).print(found.values)
        for notice in notices:
            note(notice)


def _show_checked(found: Checked) -> None:
    from piccolo.cli.output import clean, paint

    count = len(found.problems)
    mark = paint("✗", "red") if count else paint("✓", "green")
    verdict = f"{count} problem{'' if count == 1 else 's'}" if count else "ok"
    print(f"{mark} {clean(found.source)}, of the {found.role}: {verdict}")
    for problem in found.problems:
        print(f"    {clean(_placed(found.source, problem))}")
    for notice in found.notices:
        print(f"    {paint('note:', 'yellow')} {clean(_placed(found.source, notice))}")


def _placed(source: str, remark: Remark) -> str:
    place = f":{remark.line}:{remark.column}" if remark.line else ""
    return f"{source}{place}: {remark.message}"


def _checked_dict(found: Checked) -> dict[str, Any]:
    return {
        "ok": not found.problems,
        "source": found.source,
        "role": str(found.role),
        "problems": [_remark_dict(found.source, problem) for problem in found.problems],
        "notices": [_remark_dict(found.source, notice) for notice in found.notices],
    }


def _remark_dict(source: str, remark: Remark) -> dict[str, Any]:
    return {
        "source": source,
        "line": remark.line,
        "column": remark.column,
        "message": remark.message,
    }
