"""Hosts, cables and their faults, with real packets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.lab.errors import LabError
from tests.lab.leftovers import leftovers
from tests.lab.net import Direction, Host, Network

pytestmark = pytest.mark.needs_root

SILENCE = 0.4  # s without a packet: no more will come


@pytest.fixture
def net() -> Iterator[Network]:
    with Network() as network:
        a, b = network.add_host("a"), network.add_host("b")
        assert arrived(a, b, 1) == 1  # they know their link addresses now
        yield network


def arrived(sender: Host, receiver: Host, count: int) -> int:
    """Send so many datagrams; return how many arrive."""
    with receiver.socket(socket.SOCK_DGRAM) as inbox, sender.socket(socket.SOCK_DGRAM) as outbox:
        inbox.bind((receiver.ip, 0))
        inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        inbox.settimeout(SILENCE)
        for number in range(count):
            outbox.sendto(b"%d" % number, inbox.getsockname())
        got = 0
        with contextlib.suppress(TimeoutError):
            while got < count:
                inbox.recv(16)
                got += 1
        return got


def connect(client: Host, server: Host) -> tuple[socket.socket, socket.socket]:
    """The two ends of a TCP connection."""
    with server.socket() as listener:
        listener.bind((server.ip, 0))
        listener.listen()
        near = client.socket()
        near.settimeout(5)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        far.settimeout(5)
        return near, far


def test_hosts_reach_each_other_under_their_own_addresses(net: Network) -> None:
    a, b = net.hosts.values()
    near, far = connect(a, b)
    with near, far:
        assert far.getpeername()[0] == a.ip != b.ip
        near.sendall(b"hello")
        assert far.recv(5) == b"hello"


def test_our_process_stays_in_its_own_network(net: Network) -> None:
    here = socket.if_nameindex()
    with net.hosts["a"].socket():
        assert socket.if_nameindex() == here
    outside = net.hosts["a"].ip
    with socket.socket() as ours, pytest.raises(OSError, match="Cannot assign requested address"):
        ours.bind((outside, 0))


@pytest.mark.parametrize(
    ("direction", "out", "back"), [("both", 0, 0), ("in", 5, 0), ("out", 0, 5)]
)
def test_cut_is_silent_and_healed(net: Network, direction: Direction, out: int, back: int) -> None:
    a, b = net.hosts.values()
    net.cut(a, direction)
    net.cut(a, direction)
    assert (arrived(a, b, 5), arrived(b, a, 5)) == (out, back)
    net.heal(a)
    net.heal(a)
    assert (arrived(a, b, 5), arrived(b, a, 5)) == (5, 5)


def test_cut_hits_one_host_only(net: Network) -> None:
    a, b = net.hosts.values()
    c = net.add_host("c")
    net.cut("c")
    assert arrived(a, b, 5) == 5
    assert arrived(a, c, 5) == 0


def test_connection_outlives_a_cut(net: Network) -> None:
    near, far = connect(*net.hosts.values())
    with near, far:
        net.cut("b")
        near.sendall(b"patience")  # no error: nobody tells the sender
        far.settimeout(0.3)
        with pytest.raises(TimeoutError):
            far.recv(8)
        net.heal("b")
        far.settimeout(5)
        assert far.recv(8) == b"patience"


def test_loss_takes_its_share_in_each_direction(net: Network) -> None:
    a, b = net.hosts.values()
    net.loss(a, 25)
    for got in (arrived(a, b, 1000), arrived(b, a, 1000)):
        assert 650 < got < 850  # 750 ± 7 standard deviations
    net.loss(a, 0)
    assert arrived(a, b, 1000) == 1000


def test_cut_and_loss_of_two_hosts_add_up(net: Network) -> None:
    a, b = net.hosts.values()
    net.cut(a, "in")
    net.loss(b, 50)
    assert arrived(b, a, 5) == 0
    assert 120 < arrived(a, b, 400) < 280


def test_two_labs_have_the_same_addresses_and_do_not_meet(net: Network) -> None:
    with Network() as other:
        c, d = other.add_host("a"), other.add_host("b")
        assert [c.ip, d.ip] == [host.ip for host in net.hosts.values()]
        assert arrived(c, d, 5) == 5
        net.cut("b")
        assert arrived(c, d, 5) == 5
    assert leftovers(other.site.id) == []
    net.heal("b")
    assert arrived(net.hosts["a"], net.hosts["b"], 5) == 5


@pytest.mark.parametrize("name", ["a", "hub", "", "UP", "x" * 16, "../x", "a b"])
def test_impossible_names_are_refused(net: Network, name: str) -> None:
    with pytest.raises(LabError, match="cannot name a new host"):
        net.add_host(name)


def test_impossible_faults_are_refused(net: Network) -> None:
    with pytest.raises(LabError, match="no host 'z' here: there are a, b"):
        net.cut("z")
    with pytest.raises(LabError, match=r"choose 0\.\.100"):
        net.loss("a", 101)


def test_a_cable_that_carries_nothing_is_an_error(
    net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.lab.net.CARRIER_SECONDS", 0.2)
    net.site.run(["ip", "-netns", net.hub.name, "link", "set", "dev", "hub", "down"])
    with pytest.raises(LabError, match=r"cable of c carries nothing after 0\.2 s: .* disabled"):
        net.add_host("c")
    assert list(net.hosts) == ["a", "b"]


def test_a_long_name_may_be_used(net: Network) -> None:
    assert arrived(net.add_host("address-15-long"), net.hosts["a"], 5) == 5
