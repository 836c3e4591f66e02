"""`piccolo restore`: a master's state made from a backup, on the machine of the master to be."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piccolo.cli.options import Output, OutputOption
from piccolo.cli.passphrase import STDIN, PassphraseOption, passphrase
from piccolo.cli.role_options import ConfigOption, DataDirOption
from piccolo.core.errors import InvalidSpec

if TYPE_CHECKING:
    from piccolo.config.settings import MasterSettings
    from piccolo.master.backup import Backup
    from piccolo.roles.restore import Restored

_PASSWORD = re.compile(r"^(etcds?://[^:/?#@]*):[^/?#]*@")  # of a store's URL


def restore(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="As `piccolo backup` wrote it; -: from stdin.")
    ],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help='"sqlite" (default, in the data directory) or etcd://HOST:PORT[,HOST:PORT…], '
            "whichever the backup is of.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Put it in the place of a master's state that is there. Files are set aside; what "
            "is in etcd is lost.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing: verify it, and say what is in it.")
    ] = False,
    passphrase_file: PassphraseOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a master's state from a backup, here, while no master runs. Then start the master.

    Give the --config, --data-dir and --store that the master is started with. The whole backup is
    verified before anything is changed. Agents come back by themselves, without a token, once they
    find the master at an address that they know.

    Example:  piccolo restore cluster.backup --config node.yaml
    """
    if check:
        _refuse_with_check(config=config, data_dir=data_dir, store=store, replace=replace)
    if file == STDIN == str(passphrase_file):
        raise InvalidSpec("stdin cannot be both the backup and its passphrase: name a file for one")
    secret = passphrase(passphrase_file, twice=False)
    found = _read(file, secret)
    if check:
        _show(file, found, output)
        return
    import asyncio

    from piccolo.config.master import resolve_master_settings
    from piccolo.roles.restore import restore as make

    given = {"data_dir": str(data_dir)} if data_dir else {}
    if store:
        given["store"] = store
    settings, _ = resolve_master_settings(config, os.environ, given)
    done = asyncio.run(make(settings, found, replace=replace))
    _report(found, done, settings, _start(config, given), output)


def _read(file: str, secret: str) -> Backup:
    from piccolo.master.backup import read

    if file == STDIN:
        return read(sys.stdin.buffer, secret)
    try:
        with open(file, "rb") as opened:
            return read(opened, secret)
    except OSError as error:
        raise InvalidSpec(f"cannot read {file}: {error.strerror}") from None


def _refuse_with_check(**others: object) -> None:
    if names := [f"--{name.replace('_', '-')}" for name, value in others.items() if value]:
        raise InvalidSpec(
            f"--check looks at FILE only, and changes nothing: leave out {', '.join(names)}"
        )


def _start(config: Path | None, given: dict[str, str]) -> str:
    """The command that starts the master on what was restored, as far as we were told."""
    words = ["piccolo", "master", *(["--config", str(config)] if config else [])]
    for flag, value in given.items():
        words += [f"--{flag.replace('_', '-')}", _PASSWORD.sub(r"\1:PASSWORD@", value)]
    return shlex.join(words)


def _show(file: str, found: Backup, output: Output) -> None:
    from piccolo.cli.backup_rows import backup_dict, contents
    from piccolo.cli.output import age, dump

    fields = backup_dict(found)
    if output in (Output.JSON, Output.YAML):
        dump(fields, output)
        return
    about = found.about
    if output is Output.NAME:
        print(about.cluster)
        return
    name = "the backup" if file == STDIN else file
    print(f"{name} is whole: cluster {about.cluster} ({about.cluster_id}), {contents(fields)}")
    print(
        f"  made {age(about.made_at)} ago, at {fields['madeAt']}, by PICCOLO {about.version},"
        f" at revision {about.revision}"
    )
    print(f"  authority {fields['authority']}")


def _report(
    found: Backup, done: Restored, settings: MasterSettings, start: str, output: Output
) -> None:
    from piccolo.cli.backup_rows import backup_dict, contents
    from piccolo.cli.output import age, dump, note

    fields: dict[str, Any] = backup_dict(found)
    aside = str(done.aside or "")
    if output in (Output.JSON, Output.YAML):
        done_fields = {"store": done.store, "setAside": aside, "revokedTokens": done.revoked}
        dump({**fields, **done_fields, "completed": done.resumed}, output)
    elif output is Output.NAME:
        print(found.about.cluster)
    else:
        verb = "completed: " if done.resumed else ""
        print(
            f"{verb}cluster {found.about.cluster}, as it was {age(found.about.made_at)} ago"
            f" ({contents(fields)}), is in {done.store}"
        )
        print(f"  authority {fields['authority']}, in {settings.data_dir}/pki")
        if aside:
            print(f"  what was there before is in {aside}: remove it when all is well")
        print(f"  next: {start}   (with --listen and all else that it was given before)")
    if done.revoked:
        tokens = f"{done.revoked} join token{'' if done.revoked == 1 else 's'}"
        note(
            f"revoked {tokens} of the backup, which may have been used since: piccolo token create"
            " makes new ones"
        )
    note(
        "certificates that were revoked after the backup are valid again: look at them with"
        " `piccolo get certificates`, and revoke them again"
    )
    note("workloads that were deleted after the backup start again: `piccolo doctor` names them")
    note("labels, topology, and secrets that no workload uses are as in the backup: set them again")
