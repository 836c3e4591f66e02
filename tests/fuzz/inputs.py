"""Inputs that several targets share: valid ones, spoilt: they reach further than noise."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

DEEP = 16_000  # levels: far beyond what recursion can take

# Bytes that mean something to one decoder or another.
_TELLING = (
    b"\0", b"\n", b"\r\n", b" ", b'"', b"'", b":", b",", b"{", b"}", b"[", b"]", b"-", b"&a", b"*a",
    b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"9" * 25, b"1e999", b"NaN", b"null", b"true",
    b"0001-01-01T00:00:00", b"9999-12-31T23:59:59-12:00", b"%", b"=", b"<<: ", b"!!x ", b"\t",
)  # fmt: skip
_DEEP = (b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP)
_LONG = (b"9" * 5000, b"a" * 70_000)


@st.composite
def spoilt_bytes(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds`, mostly with a few pieces changed, taken out, put in, doubled or cut off."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([0, 0, 1, 1, 2, 4, 16, 1000])))
        piece = draw(
            st.sampled_from(_TELLING)
            | st.binary(max_size=4)
            | st.just(data[at:end] * 2)
            | st.sampled_from(seeds).map(lambda seed, at=at: seed[at : at + 16])  # type: ignore[misc]
        )
        data = data[:at] + piece + data[end:]
    if draw(st.integers(0, 30)) == 0:
        data = data[: draw(st.integers(0, len(data)))] + draw(st.sampled_from(_DEEP + _LONG))
    return data


def spoilt_text(seeds: Sequence[str]) -> st.SearchStrategy[str]:
    """The same for what is given as text already: lone surrogates stand for bytes that are none."""
    encoded = [seed.encode() for seed in seeds]
    return spoilt_bytes(encoded).map(lambda data: data.decode("utf-8", "surrogateescape"))


any_bytes = st.binary(max_size=80)
any_text: st.SearchStrategy[str] = st.text(st.characters(), max_size=40)
