"""Join tokens as text."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piccolo.core.errors import InvalidSpec
from piccolo.core.security.token import (
    ID_BYTES,
    SECRET_BYTES,
    JoinToken,
    fingerprint,
    parse_fingerprint,
)

PIN = fingerprint(b"a certificate")
RANDOM = bytes(range(ID_BYTES + SECRET_BYTES))


@given(st.binary(min_size=ID_BYTES + SECRET_BYTES, max_size=ID_BYTES + SECRET_BYTES), st.binary())
def test_text_and_token_are_the_same(random: bytes, certificate: bytes) -> None:
    token = JoinToken.make(random, fingerprint(certificate))
    assert JoinToken.parse(f"  {token.text}\n") == token
    assert not set(token.text) & set("+/= '\"$\\")  # nothing that a shell or a URL would change


def test_the_secret_is_never_shown_by_accident() -> None:
    token = JoinToken.make(RANDOM, PIN)
    assert token.secret not in repr(token)
    assert token.hash == hashlib.sha256(token.secret.encode()).hexdigest()


@given(st.text())
def test_anything_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        JoinToken.parse(text)
    assert len(text) < 8 or text not in str(refused.value)


def test_a_token_that_was_cut_off_is_refused() -> None:
    whole = JoinToken.make(RANDOM, PIN).text
    for length in range(len(whole)):
        with pytest.raises(InvalidSpec):
            JoinToken.parse(whole[:length])


def test_fingerprints_are_read_as_openssl_prints_them() -> None:
    digest = hashlib.sha256(b"a certificate").hexdigest()
    colons = ":".join(digest[i : i + 2] for i in range(0, 64, 2)).upper()
    assert parse_fingerprint(PIN) == parse_fingerprint(digest) == parse_fingerprint(colons) == PIN
    assert parse_fingerprint(f"{PIN}=") == PIN


@pytest.mark.parametrize("text", ["", "SHA256:", "MD5:abc", PIN[:-1], PIN + "a", "z" * 64])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        parse_fingerprint(text)
