"""Rules about the way to the master, and about the ports that a master needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from piccolo.core.address import Address
from piccolo.core.clocks import EARLIEST
from piccolo.core.model import NodeRole
from piccolo.core.readiness.facts import Facts, Listener, Mtu, Peer
from piccolo.core.readiness.finding import Finding, error, ok, unknown, warning

SKEW_WARNS = 5.0  # s
SKEW_FAILS = 600.0  # s behind: what the master signs is not valid yet (`security.authority`)
SMALLEST_MTU = 1280  # bytes, which every network of today carries (RFC 8200, 5)

_START = "start the master, open the port in its firewall, and see that the address is right"


def findings(facts: Facts) -> Iterator[Finding]:
    if facts.site.role is NodeRole.MASTER:
        yield clock(facts.now, None)
        if facts.site.listen is not None and facts.site.listen.port:
            yield port(facts.site.listen, facts.listeners)
        if facts.site.etcd:
            yield etcd(facts.etcd)
        return
    if not facts.peers:
        yield clock(facts.now, None)
        return
    # They are addresses of one master: it is enough to get through by one.
    best = next((peer for peer in facts.peers if peer.answers), facts.peers[0])
    yield clock(facts.now, best)
    yield dns(best)
    yield grpc_port(facts.peers, best)
    yield ping(best)
    yield mtu(best)


def clock(now: float, master: Peer | None) -> Finding:
    if now < EARLIEST.timestamp():
        return error("clock", "it was never set", "set it: date -s, or a time server (chrony)")
    if master is None:
        return ok("clock", "it was set")
    if master.ahead is None:
        return unknown("clock", "the master did not tell its time")
    seen = f"{abs(master.ahead):.0f} s {'ahead of' if master.ahead > 0 else 'behind'} the master's"
    fix = "set both by the same time server (chrony, systemd-timesyncd)"
    if -master.ahead > SKEW_FAILS:
        return error("clock", f"{seen}: certificates from there are not valid yet here", fix)
    if abs(master.ahead) > SKEW_WARNS:
        return warning("clock", seen, fix)
    return ok("clock", seen)


def dns(master: Peer) -> Finding:
    host = master.address.host
    if is_ip(host):
        return ok("dns", f"not needed: {host} is an address")
    if master.resolves or master.answers:
        return ok("dns", f"{host} is known")
    if master.resolves is None:
        fix = "see whether the name servers in /etc/resolv.conf answer"
        return error("dns", f"whether {host} exists could not be found out in time", fix)
    fix = "correct the name, /etc/hosts or /etc/resolv.conf; or name the master by its address"
    return error("dns", f"{host} is not known", fix)


def is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def grpc_port(peers: Sequence[Peer], best: Peer) -> Finding:
    if best.answers:
        return ok("grpc-port", f"{best.address} answers")
    seen = "; ".join(f"{peer.address}: {peer.failure or 'no answer in time'}" for peer in peers)
    return error("grpc-port", seen, _START)


def ping(master: Peer) -> Finding:
    host = master.address.host
    if master.ping is None:
        return unknown("ping", "there is no ping program that may be used")
    if master.ping:
        return ok("ping", f"{host} answers")
    fix = "allow ICMP on the way if you want ping to work; PICCOLO does not need it"
    if not master.answers:
        fix = "see that the machine is on, the cable is in, and the route is right: ip route"
    return warning("ping", f"{host} does not answer", fix)


def mtu(master: Peer) -> Finding:
    if master.mtu is Mtu.FITS:
        return ok("mtu", "packets of 1500 bytes come through")
    if master.mtu is Mtu.TOO_BIG:
        seen = f"packets of up to {master.mtu_bytes} bytes come through"
        if master.mtu_bytes < SMALLEST_MTU:
            fix = f"raise the MTU of the network on the way to {SMALLEST_MTU} at least"
            return warning("mtu", f"{seen}: very few", fix)
        return ok("mtu", seen)
    if master.mtu is Mtu.LOST and master.ping:
        fix = "lower the MTU of this machine's interface (ip link set DEV mtu 1400), or allow ICMP"
        return warning("mtu", "packets of 1500 bytes are lost on the way, without a word", fix)
    return unknown("mtu", "there is no ping program for it, or no answer")


def port(listen: Address, listeners: Sequence[Listener] | None) -> Finding:
    """That of the master: free, or ours."""
    if listeners is None:
        return unknown("listen-port", "it was not found out in time; try again")
    others = [listener for listener in listeners if not listener.ours]
    if not others:
        return ok("listen-port", f"{listen} is {'ours already' if listeners else 'free'}")
    other = others[0]
    seen = f"{listen.port}/{other.protocol} is taken by {other.owner or 'another program'}"
    fix = "stop that program, or let the master listen elsewhere: listen in node.yaml"
    if not other.owner:
        fix += f" (as root this check sees who it is: ss -lp 'sport = :{listen.port}')"
    return error("listen-port", seen, fix)


def etcd(peers: Sequence[Peer]) -> Finding:
    silent = [peer for peer in peers if not peer.answers]
    if not silent:
        return ok("etcd-port", f"{', '.join(str(peer.address) for peer in peers)}: all answer")
    seen = "; ".join(f"{peer.address}: {peer.failure or 'no answer in time'}" for peer in silent)
    fix = "start etcd, and see that store in node.yaml names it rightly"
    found = error if len(silent) == len(peers) else warning
    return found("etcd-port", seen, fix)
