"""The authority, and what its certificates are worth in real TLS handshakes."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from piccolo.core.errors import InvalidSpec
from piccolo.core.security.access import Principal, Role, principal_of, spiffe_id
from piccolo.security import authority as ca
from piccolo.security.authority import Authority, Request
from piccolo.security.request import (
    fingerprint_in,
    key_fingerprint,
    make_key,
    make_request,
    prepare,
)
from piccolo.security.tls import certificates_in, client_context, server_context
from tests.security.handshake import shake

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
NODE = Principal(Role.AGENT, "0af3")
ID = spiffe_id("c1", NODE)


def master(authority: Authority, *, trusted: str = "", cross: str = "") -> ssl.SSLContext:
    key = make_key()
    signed = authority.sign_master(Request(make_request(key)).key, ["10.0.0.1", "box"], NOW, DAY)
    return server_context(trusted or authority.pem, signed.pem + cross, key)


def node(
    authority: Authority, *, trusted: str = "", now: datetime = NOW, life: timedelta = DAY
) -> ssl.SSLContext:
    key = make_key()
    signed = authority.sign_client(Request(make_request(key)).key, ID, now, life)
    return client_context(trusted or authority.pem, signed.pem, key)


@pytest.fixture(scope="module")
def ours() -> Authority:
    return Authority.create("PICCOLO test", NOW)


@pytest.fixture(scope="module")
def foreign() -> Authority:
    return Authority.create("PICCOLO test", NOW)


def test_both_sides_know_each_other(ours: Authority) -> None:
    seen = shake(master(ours), node(ours))
    assert seen is not None
    uris = [value for kind, value in seen["subjectAltName"] if kind == "URI"]
    assert principal_of("c1", uris) == NODE


@pytest.mark.parametrize("name", ["10.0.0.1", "box", "piccolo-master"])
def test_a_master_is_also_known_by_its_addresses(ours: Authority, name: str) -> None:
    shake(master(ours), node(ours), name)


def test_without_a_certificate_a_client_gets_through_to_be_told(ours: Authority) -> None:
    assert not shake(master(ours), client_context(ours.pem))


def test_certificates_of_another_authority_are_refused(ours: Authority, foreign: Authority) -> None:
    with pytest.raises(ssl.SSLError):
        shake(master(ours), node(foreign, trusted=ours.pem))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(master(foreign, trusted=ours.pem), node(ours))


@pytest.mark.parametrize("when", [NOW - 3 * DAY, NOW + DAY])
def test_certificates_of_another_time_are_refused(ours: Authority, when: datetime) -> None:
    old = Authority.create("old", NOW - 10 * DAY)
    with pytest.raises(ssl.SSLError):
        shake(master(old), node(old, now=when))


def test_a_node_cannot_play_the_master(ours: Authority) -> None:
    key = make_key()
    names = ["piccolo-master"]
    request = Request(make_request(key))
    signed = ours.sign_client(request.key, spiffe_id("c1", NODE), NOW, DAY)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(ours.pem, signed.pem, key), node(ours), names[0])


def test_a_master_is_no_client(ours: Authority) -> None:
    key = make_key()
    signed = ours.sign_master(Request(make_request(key)).key, [], NOW, DAY)
    with pytest.raises(ssl.SSLError):
        shake(master(ours), client_context(ours.pem, signed.pem, key))


def test_older_tls_is_refused(ours: Authority) -> None:
    old = client_context(ours.pem)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(master(ours), old)


def test_who_knows_the_old_authority_knows_the_new_one_too(ours: Authority) -> None:
    second = Authority.create("PICCOLO test", NOW)
    third = Authority.create("PICCOLO test", NOW)
    cross = ours.cross_sign(second, NOW)
    both = second.pem + ours.pem
    new = master(second, trusted=both, cross=cross)
    shake(new, node(ours))  # which trusts, and is of, the old one
    shake(new, node(second, trusted=both))
    shake(new, node(second))
    chain = second.cross_sign(third, NOW) + cross
    newest = master(third, trusted=third.pem + both, cross=chain)
    shake(newest, node(ours))
    shake(newest, node(second))
    with pytest.raises(ssl.SSLError):  # retired
        shake(master(second), node(ours))


def test_nothing_outlives_the_authority(ours: Authority) -> None:
    request = Request(make_request(make_key()))
    signed = ours.sign_client(request.key, ID, NOW, timedelta(days=9999))
    assert signed.not_after == ours.certificate.not_valid_after_utc


def test_the_serial_is_the_one_that_the_server_sees(ours: Authority) -> None:
    for _ in range(20):  # with and without a leading zero
        key = make_key()
        signed = ours.sign_client(Request(make_request(key)).key, ID, NOW, DAY)
        seen = shake(master(ours), client_context(ours.pem, signed.pem, key))
        assert seen is not None
        assert seen["serialNumber"] == signed.serial
        assert signed.fingerprint == key_fingerprint(key)


def test_an_authority_comes_back_from_its_files(ours: Authority) -> None:
    again = Authority.load(ours.pem, ours.key_pem)
    assert again.fingerprint == ours.fingerprint
    assert ca.fingerprint_of(again.certificate) == ours.fingerprint
    shake(master(again), node(ours))


def test_files_that_do_not_belong_together_are_refused(ours: Authority, foreign: Authority) -> None:
    with pytest.raises(InvalidSpec, match="belong together"):
        Authority.load(ours.pem, foreign.key_pem)
    with pytest.raises(InvalidSpec, match=r"cannot be used: they do not belong together$"):
        client_context(ours.pem, ours.pem, foreign.key_pem)
    for pem in ("", "no PEM", ours.pem[:200]):
        with pytest.raises(InvalidSpec, match=r"^this is no certificate in PEM form$"):
            Authority.load(pem, ours.key_pem)
        with pytest.raises(InvalidSpec, match=r"^this is no private key in PEM form$"):
            Authority.load(ours.pem, pem)
        with pytest.raises(
            InvalidSpec, match=r"^(the|these are no) certificates? of (the|an) auth"
        ):
            client_context(pem)


def _spoilt(pem: str) -> str:
    return f"{pem[:80]}!!{pem[82:]}"


def _of_another_kind() -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _locked(pem: str) -> str:
    key, how = load_pem_private_key(pem.encode(), None), BestAvailableEncryption(b"x")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda cert, key: (cert, ""), "the key is missing"),
        (lambda cert, key: (cert, "garbage"), "the key is damaged"),
        (lambda cert, key: (cert, _spoilt(key)), "the key is damaged"),
        (lambda cert, key: (cert, key[:120]), "the key is damaged"),
        (lambda cert, key: (cert, _of_another_kind()), "they do not belong together"),
        (lambda cert, key: (cert, make_key()), "they do not belong together"),
        (lambda cert, key: (cert, _locked(key)), "the key is protected by a password"),
        (lambda cert, key: ("\n", key), "the certificate is missing"),
        (lambda cert, key: ("garbage", key), "the certificate is damaged"),
        (lambda cert, key: (_spoilt(cert), key), "the certificate is damaged"),
        (lambda cert, key: (cert[:120], key), "the certificate is damaged"),
    ],
)
def test_what_is_damaged_is_said_in_our_words(
    ours: Authority, spoil: Callable[[str, str], tuple[str, str]], reason: str
) -> None:
    key = make_key()
    signed = ours.sign_client(Request(make_request(key)).key, ID, NOW, DAY)
    with pytest.raises(InvalidSpec, match=f"^the certificate and its key cannot .*: {reason}"):
        client_context(ours.pem, *spoil(signed.pem, key))


@pytest.mark.parametrize("text", ["", "garbage", _spoilt(make_key())])
def test_a_damaged_key_is_named_with_its_file(tmp_path: Path, text: str) -> None:
    pki = prepare(tmp_path)
    (pki / "node.key").write_text(text)
    said = f"{pki}/node.key is damaged (this is no private key in PEM form): restore it"
    with pytest.raises(InvalidSpec, match=re.escape(said)):
        fingerprint_in(tmp_path)
    (pki / "node.csr").unlink()
    with pytest.raises(InvalidSpec, match=re.escape(said)):
        prepare(tmp_path)


def _rsa_request() -> str:
    key = rsa.generate_private_key(65537, 1024)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _tampered() -> str:
    first, second = make_request(make_key()), make_request(make_key())
    der = bytearray(ssl.PEM_cert_to_DER_cert(_as_certificate(first)))
    other = ssl.PEM_cert_to_DER_cert(_as_certificate(second))
    start = der.index(b"\x03\x42\x00\x04") + 4  # the public key
    key = other.index(b"\x03\x42\x00\x04") + 4
    der[start : start + 64] = other[key : key + 64]
    return ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")


def _as_certificate(request: str) -> str:
    return request.replace("CERTIFICATE REQUEST", "CERTIFICATE")


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        ("", "^this is no certificate request in PEM form$"),
        ("x" * 20_000, "at most"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "request"),
        (_rsa_request(), "P-256"),
        (_tampered(), "not signed by its own key"),
    ],
)
def test_requests_that_are_none_are_refused(pem: str, reason: str) -> None:
    with pytest.raises(InvalidSpec, match=reason):
        Request(pem)


def test_certificates_are_found_in_text(ours: Authority, foreign: Authority) -> None:
    ders = certificates_in(f"a comment\n{ours.pem}{foreign.pem}")
    assert len(ders) == 2
    assert certificates_in("none") == []
    with pytest.raises(InvalidSpec):
        certificates_in("-----BEGIN CERTIFICATE-----\nno end")
