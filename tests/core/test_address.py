from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from piccolo.core.address import Address, parse_address, parse_ip, parse_port
from piccolo.core.errors import InvalidSpec


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1", "10.0.0.1", 50051),
        ("10.0.0.1:1234", "10.0.0.1", 1234),
        (" 10.0.0.1 \n", "10.0.0.1", 50051),
        ("master", "master", 50051),
        ("Master.Example.:1", "master.example.", 1),
        ("xn--9n2bp8q.example:65535", "xn--9n2bp8q.example", 65535),
        ("3com.example", "3com.example", 50051),
        ("::1", "::1", 50051),
        ("[::1]", "::1", 50051),
        ("[::1]:50052", "::1", 50052),
        ("[2001:DB8:0:0::1]:1", "2001:db8::1", 1),
        ("fe80::1%eth0", "fe80::1%eth0", 50051),
        ("[fe80::1%eth0]:9", "fe80::1%eth0", 9),
        ("0.0.0.0", "0.0.0.0", 50051),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text, 50051) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a host is missing"),
        (":50051", "a host is missing"),
        ("10.0.0", '"10.0.0" is not an IPv4 address'),
        ("10.0.0.256", "is not an IPv4 address"),
        ("10.0.0.01", "is not an IPv4 address"),
        ("50051", "is not an IPv4 address"),
        ("10.0.0.1:", '"" is not a port'),
        ("10.0.0.1:0", '"0" is not a port: a number from 1 to 65535'),
        ("10.0.0.1:65536", "is not a port"),
        ("10.0.0.1:-1", "is not a port"),
        ("10.0.0.1:+1", "is not a port"),
        ("10.0.0.1: 1", "is not a port"),
        ("10.0.0.1:5005１", "is not a port"),
        ("10.0.0.1:" + "1" * 10000, "is not a port"),
        ("10.0.0.1:50051/x", "is not a port"),
        ("http://10.0.0.1:50051", "is a URL: write host:port alone"),
        ("[::1", "[IPv6 address]:port"),
        ("[::1]50051", "[IPv6 address]:port"),
        ("[::1]:x", '"x" is not a port'),
        ("[10.0.0.1]:1", "[IPv6 address]:port"),
        ("::g", "is not an IPv6 address; with a port it is written [address]:port"),
        ("2001:db8::1:50051", "with a port it is written [address]:port"),
        ("a:b:c", "is not an IPv6 address"),
        ("my host", "is not a host name or IP address"),
        ("-a", "is not a host name"),
        ("a..b", "is not a host name"),
        ("a_b", "is not a host name"),
        ("클러스터", "is not a host name"),
        ("a" * 64, "is not a host name"),
        (".".join(["a" * 60] * 5), "is not a host name"),
        ("a\0b", r'"a\x00b" is not a host name'),
    ],
)
def test_what_is_no_address(text: str, reason: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_address(text, 50051)
    assert reason in str(caught.value)


def test_listening_on_any_free_port() -> None:
    assert parse_address("[::]:0", 50051, lowest_port=0) == Address("::", 0)


@given(st.text(max_size=30) | st.text("0123456789abcdef.:[]%", max_size=30))
@example("[]")
@example("%")
def test_whatever_is_accepted_reads_back_the_same(text: str) -> None:
    try:
        address = parse_address(text, 50051)
    except InvalidSpec:
        return
    assert parse_address(str(address), 1) == address


@pytest.mark.parametrize("value", [1, 65535, "1", "50051"])
def test_ports(value: object) -> None:
    assert parse_port(value) == int(str(value))


@pytest.mark.parametrize("value", [0, 65536, -1, "", "x", True, None, 1.0, "1.0", [1], "٣"])
def test_what_is_no_port(value: object) -> None:
    with pytest.raises(InvalidSpec, match="is not a port: a number from 1 to 65535"):
        parse_port(value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:DB8:0::0:1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_ip(text: str, canonical: str) -> None:
    assert parse_ip(text) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not an IPv4 or IPv6 address"),
        ("10.0.0", '"10.0.0" is not an IPv4 or IPv6 address'),
        ("10.0.0.1/24", 'address: write it without "/…"'),
        ("10.0.0.1:50051", "address: write it without a port"),
        ("[::1]:50051", "address: write it without a port"),
        ("[::1]", "is not an IPv4 or IPv6 address"),
        ("host", "is not an IPv4 or IPv6 address"),
        ("fe80::1%eth0", "a zone"),
        ("0.0.0.0", "is not the address of a machine"),
        ("::", "is not the address of a machine"),
        ("::ffff:0.0.0.0", "is not the address of a machine"),
        ("224.0.0.1", "is not the address of a machine"),
        ("ff02::1", "is not the address of a machine"),
        ("255.255.255.255", "is not the address of a machine"),
    ],
)
def test_what_is_no_ip(text: str, reason: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_ip(text)
    assert reason in str(caught.value)
