"""The engines that a store may be kept in: only here are they named."""

from __future__ import annotations

from pathlib import Path

from piccolo.config.settings import MasterSettings
from piccolo.store.base import Store


async def open_engine(settings: MasterSettings) -> Store:
    """Raises what the engine raises: `Conflict` when a master uses it."""
    if settings.store == "sqlite":
        return await open_file(Path(settings.data_dir))
    from piccolo.store.etcd import EtcdUrl, open_etcd

    return await open_etcd(EtcdUrl.parse(settings.store))


async def open_file(directory: Path) -> Store:
    from piccolo.store.sqlite import open_sqlite

    return await open_sqlite(directory)


def name_of(settings: MasterSettings) -> str:
    """Where the store is, for people: no password in it."""
    if settings.store == "sqlite":
        return f"sqlite in {settings.data_dir}"
    from piccolo.store.etcd import EtcdUrl

    return str(EtcdUrl.parse(settings.store))
