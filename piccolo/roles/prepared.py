"""The files of a restore, ready beside those that they replace, and how they take their place.

All is made in `restoring/` in the data directory, and counts from the moment that `ready` is in it:
what is cut off before never was, what is cut off later is completed by whoever comes next. Each
file is renamed, never copied; what was there before is set aside in a directory of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.roles import marker
from piccolo.security.files import read_private, sync_dir, write_private

_READY = "ready"
_STORE = ("store.db-wal", "store.db-shm", "store.db")  # the file itself last
_PKI = "pki"
_MARKER = marker.NAME


@dataclass(frozen=True, slots=True)
class Plan:
    """What `ready` says."""

    backup: str  # which one
    store: str  # where it is to be, for people
    aside: str  # the directory for what was there before


class Prepared:
    """Of one data directory. All of it blocks, and raises `Unavailable`."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.directory = data_dir / "restoring"

    def plan(self) -> Plan | None:
        """None: nothing is ready. Raises `InvalidSpec` when what is there makes no sense."""
        text = read_private(self.directory / _READY)
        if text is None:
            return None
        try:
            return Plan(**json.loads(text))
        except (ValueError, TypeError):
            raise InvalidSpec(
                f"{self.directory} is damaged: remove it, then restore the backup again"
            ) from None

    def occupied(self) -> list[Path]:
        """What a restore would replace."""
        with _errors(self._data_dir):
            found = [self._data_dir / name for name in _STORE]
            found = [path for path in found if path.exists()]
            pki = self._data_dir / _PKI
            return [*found, pki] if pki.is_dir() and any(pki.iterdir()) else found

    def aside(self, time: str) -> str:
        """A name for what is there now that no restore before has used."""
        names = (f"replaced-{time}" + (f"-{n}" if n else "") for n in count())
        return next(name for name in names if not (self._data_dir / name).exists())

    def begin(self, files: dict[str, str], store: str) -> None:
        """An empty `restoring/`, with these files in its `pki/`, for that store (`marker`)."""
        with _errors(self.directory):
            self.discard()
            (self.directory / _PKI).mkdir(parents=True, mode=0o700)
            self.directory.chmod(0o700)
        for name, text in files.items():
            write_private(self.directory / _PKI / name, text)
        write_private(self.directory / _MARKER, f"{store}\n")

    def ready(self, plan: Plan) -> None:
        """From here on it counts. Closing the store has left all of it in its one file."""
        with _errors(self.directory):
            if left := [n for n in _STORE[:-1] if (self.directory / n).exists()]:
                raise Unavailable(f"{self.directory}/{left[0]} is in use: end what reads it")
            (self.directory / "lock").unlink(missing_ok=True)
            self._hand_over(self.directory, *self.directory.rglob("*"), self._data_dir / "lock")
            sync_dir(self.directory / _PKI)
            sync_dir(self.directory)
            sync_dir(self._data_dir)
        write_private(self.directory / _READY, json.dumps(asdict(plan)))
        with _errors(self.directory):
            self._hand_over(self.directory / _READY)

    def _hand_over(self, *paths: Path) -> None:
        """To the owner of the data directory: the master may run as another user than root."""
        owner = self._data_dir.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            for path in paths:
                os.chown(path, owner.st_uid, owner.st_gid)

    def is_in_place(self) -> bool:
        """Whether only `restoring/` itself is left to be removed."""
        return not (self.directory / _PKI).exists()

    def swap(self, plan: Plan, *, with_store: bool) -> Path | None:
        """Put all in its place; again after it was cut off. Where the old is, if there was any.

        Without its store (that is in etcd) an old file is set aside all the same: nobody is to
        start on it by mistake.
        """
        aside = self._data_dir / plan.aside
        with _errors(self._data_dir):
            if with_store:
                self._exchange(aside, _STORE[-1], old=_STORE)
            else:
                for name in _STORE:
                    self._set_aside(aside, name)
            self._exchange(aside, _MARKER, old=(_MARKER,))
            self._exchange(aside, _PKI, old=(_PKI,))
            self.discard()
            return aside if aside.exists() else None

    def _set_aside(self, aside: Path, name: str) -> None:
        old = self._data_dir / name
        if old.exists():
            aside.mkdir(mode=0o700, exist_ok=True)
            self._hand_over(aside)
            old.rename(aside / name)
            sync_dir(aside)

    def _exchange(self, aside: Path, name: str, old: tuple[str, ...]) -> None:
        if (self.directory / name).exists():  # else it was done before
            for each in old:
                self._set_aside(aside, each)
            (self.directory / name).rename(self._data_dir / name)
            sync_dir(self._data_dir)

    def exists(self) -> bool:
        """Whether there is anything of a restore, ready or not."""
        return self.directory.exists()

    def discard(self) -> None:
        """Remove it; `ready` last, so that somebody comes back for the rest."""
        with _errors(self.directory):
            if self.exists():
                for path in self.directory.iterdir():
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.name != _READY:
                        path.unlink()
                shutil.rmtree(self.directory)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename or path
        raise Unavailable(f"cannot use {name}: {error.strerror}") from error
