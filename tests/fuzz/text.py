"""What people type or paste: tokens, addresses, selectors, sizes, URLs."""

from __future__ import annotations

from hypothesis import strategies as st

from piccolo.config.manifests.quantities import parse_cpu, parse_memory
from piccolo.config.units import format_duration, format_size, parse_duration, parse_size
from piccolo.core.address import Address, parse_address, parse_ip, parse_port
from piccolo.core.errors import InvalidSpec
from piccolo.core.security.token import (
    ID_BYTES,
    SECRET_BYTES,
    JoinToken,
    parse_fingerprint,
    parse_id,
)
from piccolo.core.selectors import check_labels, parse
from piccolo.store.etcd.url import EtcdUrl
from tests.fuzz.inputs import any_text, spoilt_text
from tests.fuzz.target import target

PIN = "SHA256:" + "A" * 42 + "/"
TOKEN = JoinToken.make(bytes(range(ID_BYTES + SECRET_BYTES)), PIN)


@target(spoilt_text([TOKEN.text]) | any_text, quick=60)
def join_tokens(text: str) -> None:
    """A token is what it says, or refused without repeating it."""
    token = JoinToken.parse(text)
    assert JoinToken.parse(token.text) == token
    assert token.text == text.strip()


@target(spoilt_text([PIN, "ab" * 32, "AB:" * 31 + "AB", TOKEN.id]) | any_text)
def fingerprints(text: str) -> None:
    """Fingerprints and ids of tokens."""
    if found := parse_fingerprint(text):
        assert parse_fingerprint(found) == found
    parse_id(text)


_ADDRESSES = [
    "10.0.0.1:50051",
    "master.example",
    "[fe80::1]:1",
    "::1",
    "[::ffff:1.2.3.4]",
    "h:65535",
]


@target(spoilt_text(_ADDRESSES) | any_text, quick=60)
def addresses(text: str) -> None:
    """host:port in all its spellings; what comes out is read as the same."""
    address = parse_address(text, 50051)
    assert 1 <= address.port <= 65535
    assert parse_address(str(address), 1) == address
    assert isinstance(address, Address)


@target(spoilt_text(_ADDRESSES) | any_text)
def machine_addresses(text: str) -> None:
    """Addresses of one machine, and ports."""
    assert parse_ip(parse_ip(text)) == parse_ip(text)


@target(any_text | st.integers() | st.floats() | st.none() | st.booleans())
def ports(value: object) -> None:
    """Ports, from whatever a document holds."""
    assert 1 <= parse_port(value) <= 65535


@target(
    spoilt_text(["zone=front,.arch!=arm64,canary,!old,.status==Ready", "a/b=c"]) | any_text,
    found=["\ud800"],
)
def selectors(text: str) -> None:
    """Selectors, and labels for them to select by."""
    parse(text, frozenset({"arch", "status"}))({"zone": "front"}, {"arch": "arm64"})


@target(st.dictionaries(any_text, any_text, max_size=3))
def labels(found: dict[str, str]) -> None:
    """What passes as labels can be said in any protocol."""
    check_labels(found)
    assert all((key + value).isascii() for key, value in found.items())


_QUANTITIES = ["1.5s", "500ms", "7d", "64Mi", "1024Ti", "0.5", "500m", "1 MiB", "2GiB", "1e9"]


@target(
    spoilt_text(_QUANTITIES) | any_text | st.floats() | st.integers() | st.none() | st.booleans(),
    quick=60,
)
def quantities(value: object) -> None:
    """Durations, sizes and shares of processors; each is read or refused by itself."""
    for read in (_duration, _size, parse_memory, parse_cpu):
        try:
            read(value)
        except InvalidSpec:
            continue


def _duration(value: object) -> None:
    seconds = parse_duration(value)
    assert 0 <= seconds < float("inf")
    format_duration(seconds)


def _size(value: object) -> None:
    size = parse_size(value)
    text = format_size(size).removesuffix(" bytes")
    assert parse_size(text) == size


_URLS = [
    "etcd://10.0.0.1:2379,10.0.0.2:2379/piccolo",
    "etcds://user:p%41ss@[::1]:2379/x?ca=/a&cert=/b&key=/c",
    "etcd://user@host?password_file=/p",
]


@target(spoilt_text(_URLS) | any_text, quick=60, found=["etcd://h:\udcff1", "etcd://h?\udcff=/p"])
def etcd_urls(text: str) -> None:
    """The address of an etcd; what is shown of it holds no password."""
    url = EtcdUrl.parse(text)
    assert url.endpoints
    assert len(url.password) < 4 or url.password not in str(url)
