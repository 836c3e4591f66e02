"""A data directory and the store it belongs with: another one is refused, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from piccolo.config.settings import MasterSettings
from piccolo.core.errors import Conflict
from piccolo.roles import marker

ETCD = "etcd://10.0.0.5:2379,10.0.0.6:2379"


def of(data_dir: Path, store: str = "sqlite") -> MasterSettings:
    return MasterSettings(data_dir=str(data_dir), store=store)


def test_a_directory_without_a_marker_takes_any_store(tmp_path: Path) -> None:
    marker.check(of(tmp_path))
    marker.check(of(tmp_path, ETCD))


@pytest.mark.parametrize(
    "other", ["etcd://10.0.0.5", "etcds://10.0.0.6:2379,10.0.0.7/piccolo", ETCD]
)
def test_an_etcd_with_a_member_in_common_is_the_same(tmp_path: Path, other: str) -> None:
    marker.keep(of(tmp_path, ETCD))
    marker.check(of(tmp_path, other))
    marker.keep(of(tmp_path, other))
    marker.check(of(tmp_path, other))


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("sqlite", ETCD),
        (ETCD, "sqlite"),
        (ETCD, "etcd://10.0.0.7:2379"),
        (ETCD, f"{ETCD}/another"),
    ],
)
def test_another_store_is_refused(tmp_path: Path, first: str, other: str) -> None:
    marker.keep(of(tmp_path, first))
    with pytest.raises(Conflict, match=rf"state is in {first}.*: give --store {first}.*store\.url"):
        marker.check(of(tmp_path, other))
    (tmp_path / marker.NAME).unlink()  # as it says
    marker.check(of(tmp_path, other))


def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    """A master with its store elsewhere is the first to need it."""
    settings = of(tmp_path / "data" / "master", ETCD)
    marker.keep(settings)
    marker.check(settings)
    assert (tmp_path / "data" / "master").stat().st_mode & 0o777 == 0o700


def test_no_password_is_kept(tmp_path: Path) -> None:
    settings = of(tmp_path, "etcds://root:geheim@10.0.0.5/x?ca=/etc/ca.pem")
    marker.keep(settings)
    assert (tmp_path / marker.NAME).read_text() == "etcds://10.0.0.5:2379/x\n"
    marker.check(settings)


def test_one_that_is_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / marker.NAME).touch(0o600)
    marker.check(of(tmp_path, ETCD))
    (tmp_path / marker.NAME).write_text("etcd://[\n")
    with pytest.raises(Conflict, match="rm "):
        marker.check(of(tmp_path, ETCD))
