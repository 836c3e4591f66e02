"""The files by which a node is let in, and what happens to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from piccolo.agent.pki import Held, Pki
from piccolo.core.errors import InvalidSpec
from piccolo.core.security.access import Principal, Role
from piccolo.rpc import wire
from piccolo.security.authority import Authority
from piccolo.security.files import write_private
from piccolo.security.request import prepare
from tests.master import insiders
from tests.security.handshake import shake

NODE = Principal(Role.AGENT, "id-n1")
NOW = datetime.now(UTC).replace(microsecond=0)


def answer(key: insiders.Machine | None = None, ca: str = "") -> wire.SignedCertificate:
    signed = insiders.signed(NODE, key or insiders.machine("id-n1"), now=NOW)
    return wire.SignedCertificate(
        certificate_pem=signed.pem,
        ca_pem=ca or insiders.authority().pem,
        not_before=signed.not_before,
        not_after=signed.not_after,
    )


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(insiders.joined_pki(tmp_path / "pki", "id-n1"))


def test_a_new_node_has_a_key_and_nothing_else(tmp_path: Path) -> None:
    pki = Pki(prepare(tmp_path))
    assert (pki.held, pki.ca, pki.pins) == (None, "", [])
    assert "CERTIFICATE REQUEST" in pki.request
    assert "PRIVATE" not in pki.request


def test_what_was_given_is_there_after_a_restart(tmp_path: Path) -> None:
    directory = insiders.joined_pki(tmp_path / "pki", "id-n1")
    (directory / "node.crt").unlink()
    pki = Pki(directory)
    pki.keep(answer())
    again = Pki(directory)
    assert again.certificate == pki.certificate
    assert (again.certificate.made, again.certificate.not_after) == (
        NOW.timestamp(),
        (NOW + insiders.LIFE).timestamp(),
    )
    assert again.pins == [insiders.authority().fingerprint]
    seen = shake(insiders.serving_tls(), again.context())
    assert seen is not None
    assert {f.stat().st_mode & 0o777 for f in directory.iterdir()} == {0o600}


def test_a_certificate_of_another_key_is_not_kept(pki: Pki, tmp_path: Path) -> None:
    before = (tmp_path / "pki" / "node.crt").read_text()
    with pytest.raises(InvalidSpec, match="cannot be used"):
        pki.keep(answer(insiders.machine("other")))
    assert (tmp_path / "pki" / "node.crt").read_text() == before
    assert Pki(tmp_path / "pki").held == pki.held


@pytest.mark.parametrize("garbage", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_what_is_no_authority_is_not_trusted(pki: Pki, tmp_path: Path, garbage: str) -> None:
    for attempt in (pki.trust, lambda text: pki.keep(answer(ca=text or "-"))):
        with pytest.raises(InvalidSpec):
            attempt(garbage)
        assert pki.ca == (tmp_path / "pki" / "ca.crt").read_text() == insiders.authority().pem


def test_new_authorities_hold_for_the_next_connection(pki: Pki) -> None:
    new = Authority.create("PICCOLO test", datetime.now(UTC))
    first = pki.context()
    assert pki.context() is first
    pki.trust(new.pem + insiders.authority().pem)
    assert pki.pins == [new.fingerprint, insiders.authority().fingerprint]
    assert pki.context() is not first
    shake(insiders.serving_tls(new), pki.anonymous())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "Made: yesterday\nNot After: tomorrow\n-----BEGIN CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nAA==\n",
    ],
)
def test_a_damaged_certificate_is_as_none(pki: Pki, tmp_path: Path, text: str) -> None:
    """The way in by a token is open then."""
    write_private(tmp_path / "pki" / "node.crt", text)
    assert Pki(tmp_path / "pki").held is None


def test_a_damaged_key_is_named_with_the_remedy(pki: Pki, tmp_path: Path) -> None:
    write_private(tmp_path / "pki" / "node.key", "garbage")
    with pytest.raises(InvalidSpec, match=r"restore the files of this directory .*, or delete it"):
        Pki(tmp_path / "pki").context()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ca.crt", "", "ca.crt: the certificate of the authority is missing;"),
        ("ca.crt", "garbage", "ca.crt: these are no certificates of an authority;"),
        ("node.key", "garbage", "node.crt, node.key: .*: the key is damaged;"),
        ("node.key", insiders.machine("other").key, "node.crt, node.key: .*: they do not belong"),
    ],
)
def test_the_file_that_is_damaged_is_named(
    pki: Pki, tmp_path: Path, name: str, text: str, said: str
) -> None:
    write_private(tmp_path / "pki" / name, text)
    with pytest.raises(InvalidSpec, match=f"^{tmp_path}/pki/{said}"):
        Pki(tmp_path / "pki").context()


def test_an_authority_that_cannot_be_read_is_named(pki: Pki, tmp_path: Path) -> None:
    write_private(tmp_path / "pki" / "ca.crt", insiders.authority().pem[:100])
    damaged = Pki(tmp_path / "pki")
    for use in (damaged.anonymous, lambda: damaged.pins):
        with pytest.raises(InvalidSpec, match=f"^{tmp_path}/pki/ca.crt: "):
            use()


@pytest.mark.parametrize("name", ["node.crt", "ca.crt", "."])
def test_what_others_can_read_is_refused(pki: Pki, tmp_path: Path, name: str) -> None:
    (tmp_path / "pki" / name).chmod(0o755)
    with pytest.raises(InvalidSpec, match="chmod go="):
        Pki(tmp_path / "pki")


def test_renewal_is_due_at_about_two_thirds() -> None:
    held = Held("", 1000.0, 1000.0 + timedelta(days=30).total_seconds())
    day = 86400.0
    assert held.due(0) == pytest.approx(1000 + 20 * day)
    assert held.due(-1) == pytest.approx(1000 + 18.5 * day)
    assert held.due(1) == pytest.approx(1000 + 21.5 * day)
