"""Which store a data directory belongs with: `store.url` in it, written when a master starts on it.

A state that was moved to another store leaves the old one behind. Whoever then forgets `--store`
would start the cluster as it once was, or an empty one with the keys of this one. So a master
whose store is not the one in the file does not start.
"""

from __future__ import annotations

from pathlib import Path

from piccolo.config.settings import MasterSettings
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from piccolo.security.files import read_private, write_private

NAME = "store.url"
_FILES = "sqlite"


def text_of(settings: MasterSettings) -> str:
    """What the file says of a store: without user, password and names of files."""
    if settings.store == _FILES:
        return _FILES
    from piccolo.store.etcd import EtcdUrl

    url = EtcdUrl.parse(settings.store)
    return str(EtcdUrl(url.endpoints, url.prefix, url.tls))


def check(settings: MasterSettings) -> None:
    """Raises `Conflict` when the directory belongs with another store."""
    file = Path(settings.data_dir) / NAME
    kept, chosen = (read_private(file) or "").strip(), text_of(settings)
    if kept and not _are_one(kept, chosen):
        raise Conflict(
            f"{settings.data_dir} belongs to a master whose state is in {kept}, not in {chosen}:"
            f" give --store {kept}; or, to begin anew, another --data-dir. (If it is the same"
            f" store at a new address, or you want this one indeed: rm {file})"
        )


def keep(settings: MasterSettings) -> None:
    """From now on the directory belongs with this store. Raises `Unavailable`."""
    file, text = Path(settings.data_dir) / NAME, text_of(settings)
    if (read_private(file) or "").strip() == text:
        return
    try:  # a store elsewhere has made no directory here
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot use {file.parent}: {error.strerror}") from error
    write_private(file, f"{text}\n")


def _are_one(kept: str, chosen: str) -> bool:
    """An etcd may get and lose members: one in common is enough."""
    if _FILES in (kept, chosen):
        return kept == chosen
    from piccolo.store.etcd import EtcdUrl

    try:
        old, new = EtcdUrl.parse(kept), EtcdUrl.parse(chosen)
    except InvalidSpec:
        return False
    return old.prefix == new.prefix and not {*old.endpoints}.isdisjoint(new.endpoints)
