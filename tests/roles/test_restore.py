"""Restoring into files and into etcd: whole or not at all, and nothing is lost that was there."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from piccolo.config.settings import MasterSettings
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from piccolo.master import keys
from piccolo.master.backup import Backup
from piccolo.master.keys import MasterRecord
from piccolo.roles import master as role
from piccolo.roles import restore as restoring
from piccolo.roles.engines import open_engine
from piccolo.roles.prepared import Prepared
from piccolo.roles.restore import UNFINISHED, Restored, restore
from piccolo.security.keyring import CREDENTIAL, KeyRing
from piccolo.store import codec
from piccolo.store.mirror import EPOCH_KEY
from tests.master import backups
from tests.store.etcd_server import EtcdServer

MADE = backups.backup(datetime.now(UTC) - timedelta(hours=1))
OTHER = backups.backup(datetime.now(UTC) - timedelta(hours=2), cluster="other")
CHANGED = {keys.MASTER, keys.token("open")}
PREFIXES = (f"restored{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd") / "restored")
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.needs_etcd)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> MasterSettings:
    store = "sqlite"
    if request.param == "etcd":
        server = request.getfixturevalue("server")
        store = f"etcd://{server.address}/{next(PREFIXES)}"
    return MasterSettings(data_dir=str(tmp_path / "data"), store=store)


@pytest.fixture
def files(tmp_path: Path) -> MasterSettings:
    return MasterSettings(data_dir=str(tmp_path / "data"))


async def held(settings: MasterSettings) -> dict[str, bytes]:
    """What a master that starts now would find."""
    store, _ = await role._open_store(settings)
    try:
        return {e.key: e.value for e in (await store.list("")).entries}
    finally:
        await store.close()


def is_of(backup: Backup, values: Mapping[str, bytes], data_dir: str) -> bool:
    same = {k: v for k, v in backup.values.items() if k not in CHANGED}
    return {k: v for k, v in values.items() if k not in {*CHANGED, EPOCH_KEY}} == same and (
        Path(data_dir) / "pki" / "ca.key"
    ).read_text() == backup.pki["ca.key"]


def below(directory: str) -> dict[Path, int]:
    """What there is, with its mode."""
    found = Path(directory).rglob("*")
    return {p.relative_to(directory): stat.S_IMODE(p.stat().st_mode) for p in found}


async def test_everything_is_there_again(settings: MasterSettings) -> None:
    done = await restore(settings, MADE, replace=False)
    assert done == Restored(done.store, None, 1, resumed=False)
    values = await held(settings)
    assert is_of(MADE, values, settings.data_dir)
    record: MasterRecord = codec.decode(MasterRecord, values[keys.MASTER], keys.MASTER)
    assert record.restored is not None
    assert record.restored.backup_at == MADE.about.made_at
    assert int(values[EPOCH_KEY]) > backups.MIRROR_EPOCH
    left = below(settings.data_dir)
    assert {path.parts[0] for path in left} - {"lock"} == (
        {"pki", "store.url"} | ({"store.db"} if settings.store == "sqlite" else set())
    )
    assert not [path for path, mode in left.items() if mode & 0o077]


async def test_secrets_are_sealed_with_a_new_key(settings: MasterSettings) -> None:
    await restore(settings, MADE, replace=False)
    engine = await open_engine(settings)
    try:
        entry = await engine.get(keys.secret("wifi"))
        assert entry is not None
        assert b"Z2VoZWlt" not in entry.value
        assert await engine.get(UNFINISHED) is None
    finally:
        await engine.close()


async def test_what_is_there_is_replaced_only_when_that_is_asked_for(
    settings: MasterSettings,
) -> None:
    await restore(settings, OTHER, replace=False)
    with pytest.raises(Conflict, match=r"there is a master's state already: .*--replace"):
        await restore(settings, MADE, replace=False)
    assert is_of(OTHER, await held(settings), settings.data_dir)
    (Path(settings.data_dir) / "audit").mkdir()
    done = await restore(settings, MADE, replace=True)
    assert is_of(MADE, await held(settings), settings.data_dir)
    assert done.aside is not None
    assert (done.aside / "pki" / "ca.key").read_text() == OTHER.pki["ca.key"]
    assert (done.aside / "store.db").exists() is (settings.store == "sqlite")
    assert (Path(settings.data_dir) / "audit").is_dir()  # it goes on where it was


async def test_what_was_set_aside_can_be_used_again(files: MasterSettings) -> None:
    await restore(files, OTHER, replace=False)
    done = await restore(files, MADE, replace=True)
    assert done.aside is not None
    aside = MasterSettings(data_dir=str(done.aside))
    assert is_of(OTHER, await held(aside), aside.data_dir)


async def test_nothing_that_was_set_aside_is_ever_replaced(files: MasterSettings) -> None:
    asides = {(await restore(files, MADE, replace=True)).aside for _ in range(4)}
    assert len(asides) == 4
    assert asides >= {None}  # the first time there was nothing


async def test_a_store_that_nobody_can_read_is_no_obstacle(files: MasterSettings) -> None:
    await restore(files, OTHER, replace=False)
    directory = Path(files.data_dir)
    (directory / "store.db").write_bytes(b"SQLite format 3\0 and then nothing")
    (directory / "pki" / "store.key").unlink()
    await restore(files, MADE, replace=True)
    assert is_of(MADE, await held(files), files.data_dir)


async def test_a_running_master_is_left_alone(settings: MasterSettings) -> None:
    await restore(settings, OTHER, replace=False)
    store, _ = await role._open_store(settings)
    try:
        with pytest.raises(Conflict, match=r"stop that master first$"):
            await restore(settings, MADE, replace=True)
    finally:
        await store.close()
    assert is_of(OTHER, await held(settings), settings.data_dir)


@pytest.mark.needs_root
async def test_root_makes_it_for_the_owner_of_the_directory(files: MasterSettings) -> None:
    os.mkdir(files.data_dir, 0o700)
    os.chown(files.data_dir, 65534, 65534)
    for _ in range(2):
        await restore(files, MADE, replace=True)
    owners = {p: (Path(files.data_dir) / p).stat().st_uid for p in below(files.data_dir)}
    assert set(owners.values()) == {65534}, owners


async def test_the_key_of_a_credential_is_used(
    files: MasterSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeyRing.load(tmp_path, {}).renew()
    (tmp_path / "pki" / "store.key").rename(tmp_path / CREDENTIAL)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    await restore(files, MADE, replace=False)
    assert not (Path(files.data_dir) / "pki" / "store.key").exists()
    assert is_of(MADE, await held(files), files.data_dir)


async def test_a_disk_that_refuses_changes_nothing(
    settings: MasterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restore(settings, OTHER, replace=False)

    def full(*_: object) -> None:
        raise Unavailable("no space left on the disk")

    with monkeypatch.context() as patched:
        patched.setattr(Prepared, "ready", full)
        with pytest.raises(Unavailable, match="no space left"):
            await restore(settings, MADE, replace=True)
    assert not (Path(settings.data_dir) / "restoring").exists()
    assert is_of(OTHER, await held(settings), settings.data_dir)


async def test_one_that_was_cut_off_is_completed_by_the_next_run(
    settings: MasterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restore(settings, OTHER, replace=False)
    await cut_off(settings, monkeypatch)
    done = await restore(settings, MADE, replace=False)
    assert done.resumed
    assert is_of(MADE, await held(settings), settings.data_dir)


async def test_one_that_was_cut_off_is_completed_by_the_master(
    settings: MasterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restore(settings, OTHER, replace=False)
    await cut_off(settings, monkeypatch)
    assert is_of(MADE, await held(settings), settings.data_dir)


async def cut_off(settings: MasterSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore of `MADE` that ends when all is ready, and, in etcd, half of it is there."""

    def ends(*_: object, **__: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        if settings.store == "sqlite":
            patched.setattr(Prepared, "swap", ends)
        else:
            fill, calls = restoring._fill, iter((True, False))

            async def fill_once(*arguments: object) -> None:
                if not next(calls):
                    ends()
                await fill(*arguments)  # type: ignore[arg-type]

            patched.setattr(restoring, "_fill", fill_once)
        with pytest.raises(InterruptedError):
            await restore(settings, MADE, replace=True)


@pytest.mark.needs_etcd
async def test_half_an_etcd_is_served_by_nobody(
    server: EtcdServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"etcd://{server.address}/{next(PREFIXES)}"
    here, there = (MasterSettings(data_dir=str(tmp_path / d), store=store) for d in ("a", "b"))
    await cut_off(here, monkeypatch)
    with pytest.raises(InvalidSpec, match=r"a restore into etcd://.* was cut off"):
        await held(there)
    with pytest.raises(Conflict, match="--replace"):
        await restore(there, MADE, replace=False)
    await restore(there, MADE, replace=True)
    assert is_of(MADE, await held(there), there.data_dir)


@pytest.mark.needs_etcd
async def test_nobody_starts_on_what_was_left_behind(server: EtcdServer, tmp_path: Path) -> None:
    files = MasterSettings(data_dir=str(tmp_path / "data"))
    etcd = replace(files, store=f"etcd://{server.address}/{next(PREFIXES)}")
    await restore(files, OTHER, replace=False)
    await held(files)
    with pytest.raises(Conflict, match=r"is in sqlite, not in etcd://.*: give --store sqlite"):
        await held(etcd)
    with pytest.raises(Conflict, match=r"there is a master's state already: .*/store\.db"):
        await restore(etcd, MADE, replace=False)
    done = await restore(etcd, MADE, replace=True)
    with pytest.raises(Conflict, match=rf"is in {etcd.store}, not in sqlite"):
        await held(files)
    assert is_of(MADE, await held(etcd), etcd.data_dir)
    assert done.aside is not None
    aside = MasterSettings(data_dir=str(done.aside))
    assert is_of(OTHER, await held(aside), aside.data_dir)


@pytest.mark.needs_etcd
async def test_files_move_into_etcd_and_back(server: EtcdServer, tmp_path: Path) -> None:
    for store in (f"etcd://{server.address}/{next(PREFIXES)}", "sqlite"):
        settings = MasterSettings(data_dir=str(tmp_path / store[:4]), store=store, encrypt="all")
        await restore(settings, MADE, replace=False)
        assert is_of(MADE, await held(settings), settings.data_dir)


async def test_what_is_ready_is_for_the_store_it_was_made_for(
    files: MasterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cut_off(files, monkeypatch)
    ready = Path(files.data_dir) / "restoring" / "ready"
    ready.write_text(ready.read_text().replace("sqlite in", "etcd at"))
    with pytest.raises(InvalidSpec, match=r"complete it with that --store .* or give it up: rm -r"):
        await held(files)
    ready.write_text("{}")
    with pytest.raises(InvalidSpec, match="is damaged: remove it"):
        await held(files)


@pytest.mark.slow
async def test_killed_at_any_instant_it_is_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    pristine = tmp_path / "pristine"
    await restore(MasterSettings(data_dir=str(pristine)), OTHER, replace=False)
    file = tmp_path / "backup"
    file.write_bytes(backups.file_of(MADE))
    seen = []
    for number, directory in enumerate(killed(file, pristine, tmp_path / "out"), 1):
        settings = MasterSettings(data_dir=str(directory))
        values = await held(settings)
        new = is_of(MADE, values, settings.data_dir)
        assert new or is_of(OTHER, values, settings.data_dir), f"half of it after {number} steps"
        seen.append(new)
        if new:
            [aside] = [path for path in below(settings.data_dir) if path.match("replaced-*")]
            old = MasterSettings(data_dir=str(directory / aside))
            assert is_of(OTHER, await held(old), old.data_dir)
        assert not [path for path in below(settings.data_dir) if path.parts[0] == "restoring"]
        shutil.rmtree(directory)
    assert seen == sorted(seen)  # from some instant on it counts
    assert len(set(seen)) == 2
    assert len(seen) > 20


def killed(file: Path, pristine: Path, out: Path) -> list[Path]:
    """What each of the killed ones left behind, in the order of the instants."""
    out.mkdir()
    command: list[str | Path] = [sys.executable, "-m", "tests.roles.killing", file, pristine, out]
    subprocess.run(command, check=True, timeout=50, env={**os.environ, "PYTHONPATH": "."})
    return sorted(out.iterdir(), key=lambda path: int(path.name))
