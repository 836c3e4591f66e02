"""The files that a document puts into containers: written on the node, and bound read-only.

They lie in `files/HASH/CONTAINER/` of the instance's directory, which nobody but root can enter,
under their numbers: a path in a container is never part of a path on the node. Not synced: after a
power cut the container is started again, and what is missing or cut short is written again.
"""

from __future__ import annotations

import os
import shutil
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

from piccolo.core.errors import NotFound
from piccolo.core.workloads.containers import Container, File, SecretKey
from piccolo.core.workloads.instances import Secrets
from piccolo.runtime.base import Bind


def secret(key: SecretKey, secrets: Secrets) -> bytes:
    """Raises `NotFound` when the master sent no such value."""
    try:
        return b64decode(secrets[f"{key.secret}/{key.key}"])
    except KeyError:
        raise NotFound(
            f"there is no secret {key.secret} with the key {key.key}:"
            f" piccolo secret set {key.secret} {key.key}=VALUE"
        ) from None


def write(directory: Path, hash: str, container: Container, secrets: Secrets) -> Sequence[Bind]:
    """Make all files of a container be there. Idempotent; raises `OSError`, `NotFound`."""
    if not container.files:
        return ()
    place = directory / "files" / hash / container.name
    for folder in (directory / "files", place.parent, place):
        folder.mkdir(mode=0o700, exist_ok=True)
    binds = []
    for number, file in enumerate(container.files):
        path = place / str(number)
        _write(path, _content(file, secrets), file.mode)
        binds.append(Bind(str(path), file.path))
    return binds


def _content(file: File, secrets: Secrets) -> bytes:
    if file.secret is not None:
        return secret(file.secret, secrets)
    return b64decode(file.content) if file.base64 else file.content.encode()


def _write(path: Path, content: bytes, mode: int) -> None:
    """A file that is right is left alone: a container may have it mounted."""
    try:
        if path.stat().st_mode & 0o7777 == mode and path.read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a former life
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def clean(directory: Path, keep: str) -> None:
    """Remove the files of all hashes but `keep`; empty: of all. Raises `OSError`."""
    place = directory / "files"
    if not keep and place.exists():
        shutil.rmtree(place)
    elif place.exists():
        for folder in place.iterdir():
            if folder.name != keep:
                shutil.rmtree(folder)
