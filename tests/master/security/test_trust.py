"""The files of `pki/`: made, kept, rotated, and what happens when something is cut off or amiss."""

from __future__ import annotations

import re
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from piccolo.core.clocks import EARLIEST
from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.core.model import Authorities
from piccolo.core.security.access import Principal, Role, spiffe_id
from piccolo.master.security import trust as trust_module
from piccolo.master.security.trust import Trust
from piccolo.security import authority as ca
from piccolo.security.authority import Request
from piccolo.security.files import write_private
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import client_context
from tests.security.handshake import shake

NOW = datetime.now(UTC)
LIFE = timedelta(days=30)
HOSTS = ["box", "10.0.0.1"]


def opened(
    directory: Path, now: datetime = NOW, known: Authorities | None = None, hosts: list[str] = HOSTS
) -> Trust:
    return Trust.open(directory / "pki", "test", hosts, LIFE, now, known)[0]


def client(trust: Trust, *, trusted: str = "") -> ssl.SSLContext:
    key = make_key()
    uri = spiffe_id("c1", Principal(Role.AGENT, "n1"))
    signed = trust.current.sign_client(Request(make_request(key)).key, uri, NOW, LIFE)
    return client_context(trusted or trust.bundle, signed.pem, key)


def test_the_first_start_makes_all_of_it_private(tmp_path: Path) -> None:
    trust, made = Trust.open(tmp_path / "pki", "test", HOSTS, LIFE, NOW)
    assert made
    files = {f.name: f.stat().st_mode & 0o777 for f in (tmp_path / "pki").iterdir()}
    assert files == dict.fromkeys(("ca.crt", "ca.key", "master.crt", "master.key"), 0o600)
    shake(trust.tls(), client(trust), "10.0.0.1")


def test_the_next_start_changes_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path)
    before = {f.name: f.read_bytes() for f in (tmp_path / "pki").iterdir()}
    again, made = Trust.open(tmp_path / "pki", "test", HOSTS, LIFE, NOW + timedelta(days=1))
    assert not made
    assert {f.name: f.read_bytes() for f in (tmp_path / "pki").iterdir()} == before
    shake(again.tls(), client(first))


def test_a_new_address_gets_into_the_certificate(tmp_path: Path) -> None:
    first = opened(tmp_path)
    again = opened(tmp_path, hosts=[*HOSTS, "10.9.9.9"])
    shake(again.tls(), client(first), "10.9.9.9")
    assert again.current.fingerprint == first.current.fingerprint


@pytest.mark.parametrize(("days", "renewed"), [(19, False), (21, True), (400, True)])
def test_the_masters_certificate_is_renewed_at_two_thirds(
    tmp_path: Path, days: int, renewed: bool
) -> None:
    trust = opened(tmp_path)
    old = trust.master.serial_number
    assert trust.see_to_master(NOW + timedelta(days=days)) is renewed
    assert (trust.master.serial_number != old) is renewed


def test_a_clock_that_was_never_set_makes_no_authority(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="clock says 1970-01-01"):
        opened(tmp_path, datetime(1970, 1, 1, tzinfo=UTC))
    assert not list((tmp_path / "pki").iterdir())
    assert EARLIEST < NOW


def test_a_master_whose_clock_is_not_set_yet_starts_with_what_it_has(tmp_path: Path) -> None:
    """A machine without a battery begins in 1970, until it hears of the time."""
    first = opened(tmp_path)
    again = opened(tmp_path, datetime(1970, 1, 1, tzinfo=UTC), hosts=[*HOSTS, "10.9.9.9"])
    assert again.master == first.master
    shake(again.tls(), client(first))
    assert again.see_to_master(NOW), "then the new address gets in too"
    shake(again.tls(), client(first), "10.9.9.9")


def test_an_authority_that_has_expired_can_still_be_replaced(tmp_path: Path) -> None:
    trust = opened(tmp_path)
    then = NOW + ca.AUTHORITY_LIFETIME + timedelta(days=1)
    with pytest.raises(Unavailable, match="piccolo ca rotate"):
        trust.see_to_master(then)
    trust.rotate("test", then)
    assert trust.see_to_master(then) is False


def test_a_directory_that_others_can_read_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "pki").chmod(0o755)
    with pytest.raises(InvalidSpec, match="chmod go="):
        opened(tmp_path)
    (tmp_path / "pki").chmod(0o700)
    (tmp_path / "pki" / "ca.key").chmod(0o644)
    with pytest.raises(InvalidSpec, match="chmod go="):
        opened(tmp_path)


def test_an_authority_that_lies_elsewhere_is_not_made_anew(tmp_path: Path) -> None:
    trust = opened(tmp_path)
    known = Authorities(trust.current.fingerprint)
    shutil.rmtree(tmp_path / "pki")
    with pytest.raises(InvalidSpec, match=re.escape(known.current)):
        opened(tmp_path, known=known)
    assert not (tmp_path / "pki" / "ca.key").exists()
    opened(tmp_path)  # another cluster's
    with pytest.raises(InvalidSpec, match="restore"):
        opened(tmp_path, known=known)


@pytest.mark.parametrize("name", ["ca.key", "ca.crt"])
@pytest.mark.parametrize("content", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAA\n"])
def test_damage_is_named(tmp_path: Path, name: str, content: str) -> None:
    opened(tmp_path)
    write_private(tmp_path / "pki" / name, content)
    with pytest.raises(InvalidSpec, match=f"pki/{name}: .* in PEM form; restore"):
        opened(tmp_path)


def test_a_lost_key_of_the_authority_is_named(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "pki" / "ca.key").unlink()
    with pytest.raises(InvalidSpec, match=r"not its key ca\.key"):
        opened(tmp_path)


def test_a_lost_certificate_of_the_master_is_made_again(tmp_path: Path) -> None:
    first = opened(tmp_path)
    (tmp_path / "pki" / "master.crt").unlink()
    (tmp_path / "pki" / "master.key").write_text("garbage")
    shake(opened(tmp_path).tls(), client(first))


def test_rotation_leaves_nobody_behind(tmp_path: Path) -> None:
    trust = opened(tmp_path)
    asleep = client(trust)  # of the old authority, and trusts it only
    old = trust.current.fingerprint
    trust.rotate("test", NOW)
    assert trust.current.fingerprint != old
    assert [ca.fingerprint_of(c) for c in trust.trusted] == [trust.current.fingerprint, old]
    shake(trust.tls(), asleep)
    shake(trust.tls(), client(trust))
    again = opened(tmp_path)  # after a restart
    shake(again.tls(), asleep)
    again.rotate("test", NOW)  # once more, within the overlap
    shake(again.tls(), asleep)
    again.retire([ca.fingerprint_of(c) for c in again.retiring])
    with pytest.raises(ssl.SSLError):
        shake(again.tls(), asleep)
    shake(opened(tmp_path).tls(), client(again, trusted=again.current.pem))


@pytest.mark.parametrize("written", range(5))
def test_a_rotation_that_is_cut_off_happened_or_did_not(
    tmp_path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power fails after so many of its files."""
    trust = opened(tmp_path)
    old, asleep = trust.current.fingerprint, client(trust)
    left = written

    def write(path: Path, text: str) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        write_private(path, text)

    monkeypatch.setattr(trust_module, "write_private", write)
    with pytest.raises(KeyboardInterrupt):
        trust.rotate("test", NOW)
    monkeypatch.undo()
    again = opened(tmp_path)
    assert (again.current.fingerprint == old) is (written < 3)
    shake(again.tls(), asleep)
    shake(again.tls(), client(again))
    assert "ca.key.next" not in {f.name for f in (tmp_path / "pki").iterdir()}
    again.rotate("test", NOW)
    shake(again.tls(), asleep)
