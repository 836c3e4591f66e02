"""`piccolo backup`: the master's state in one encrypted file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piccolo.cli.options import ContextOption, MasterOption, Output, OutputOption, TimeoutOption
from piccolo.cli.passphrase import PassphraseOption, passphrase
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable

if TYPE_CHECKING:
    from piccolo.rpc import wire


def backup(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="Where to write it (0600); -: standard output.")
    ],
    passphrase_file: PassphraseOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Put it in the place of a FILE that there is.")
    ] = False,
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Write the master's state into a file, from which `piccolo restore` makes the master anew.

    The master goes on meanwhile. The file is always encrypted: the keys of the cluster are in it.
    Keep the passphrase elsewhere, and node.yaml with the file: that is not in it.

    Example:  piccolo backup cluster.backup --passphrase-file passphrase.txt
    """
    from piccolo.cli import client
    from piccolo.rpc import wire
    from piccolo.security.archive import check_passphrase

    _refuse(file, force=force)
    secret = passphrase(passphrase_file, twice=True)
    check_passphrase(secret)
    request = wire.BackupRequest(passphrase=secret)
    info, size = wire.BackupInfo(), 0
    with _written(file) as write:

        def take(chunk: wire.BackupChunk) -> None:
            nonlocal info, size
            info = chunk.info or info
            size += len(chunk.data)
            write(chunk.data)

        client.stream(master, timeout, lambda stub: stub.backup(request), take, context=context)
    _report(file, info, size, output)


def _refuse(file: str, *, force: bool) -> None:
    """Before the master is asked for anything."""
    if file == "-":
        if sys.stdout.isatty():
            raise InvalidSpec("a backup is no text for a terminal: name a FILE, or use a pipe")
    elif Path(file).is_dir():
        raise InvalidSpec(f"{file} is a directory: name a file in it")
    elif os.path.lexists(file) and not force:
        raise Conflict(f"{file} exists already: name another file, or add --force to replace it")
    elif not (parent := Path(file).parent).is_dir():
        raise InvalidSpec(f"there is no directory {parent}: make it first, or name another FILE")
    elif not os.access(parent, os.W_OK | os.X_OK):
        raise InvalidSpec(f"you cannot write in the directory {parent}: name another FILE")


@contextmanager
def _written(file: str) -> Iterator[Callable[[bytes], Any]]:
    """What takes the content; in its place, whole and durable, at the end of the block."""
    if file == "-":
        yield sys.stdout.buffer.write
        sys.stdout.flush()
        return
    from piccolo.security.files import sync_dir

    path = Path(file)
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # of one that was cut off
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as to:
            yield to.write
            to.flush()
            os.fsync(to.fileno())
        partial.replace(path)
        sync_dir(path.parent)
    except OSError as error:
        raise Unavailable(f"cannot write {file}: {error.strerror}; there is no backup") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _report(file: str, info: wire.BackupInfo, size: int, output: Output) -> None:
    from piccolo.cli.backup_rows import contents, size_text
    from piccolo.cli.output import dump, note, say
    from piccolo.cli.show.rows import time_text

    assert info.cluster is not None
    if info.degraded:
        note(
            f"the master cannot write its store ({info.degraded}): the backup is what it serves"
            " from memory, which is all that was ever acknowledged, and what was seen since"
        )
    found = {
        "cluster": info.cluster.name,
        "clusterId": info.cluster.id,
        "madeAt": time_text(info.made_at),
        "version": info.cluster.master_version,
        "revision": info.revision,
        "nodes": info.nodes,
        "workloads": info.workloads,
        "secrets": info.secrets,
    }
    if file == "-":
        say(f"cluster {info.cluster.name}, {contents(found)}, {size_text(size)}")
    elif output in (Output.JSON, Output.YAML):
        dump({"file": file, "bytes": size, **found, "degraded": info.degraded}, output)
    elif output is Output.NAME:
        print(file)
    else:
        print(f"{file}: cluster {info.cluster.name}, {contents(found)}, {size_text(size)}")
