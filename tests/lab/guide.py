"""What to type to look around in a lab that is up."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence

from tests.lab.cluster import Lab
from tests.lab.net import Network
from tests.lab.podman import HELLO


def guide(lab: Lab, *, verbs: bool = False) -> str:
    """Commands for another terminal of this machine, one per line, under what they do.

    `verbs`: this lab takes those of `./dev lab`.
    """
    node = lab.names[-1] if lab.names else "master"
    host = lab.net.hosts[node]
    lines = ["In another terminal:", ""]
    lines += [f"  export {name}={value}" for name, value in lab.client_env().items()]

    def add(what: str, *commands: Sequence[str]) -> None:
        lines.extend(["", f"  # {what}", *(f"  {shlex.join(command)}" for command in commands)])

    piccolo = [*lab.master.prefix(), str(lab.program)]
    add("ask the master", [*piccolo, "status"], [*piccolo, "get", "nodes", "-w"])
    if node in lab.podman:
        add(f"the containers of {node}, by its own Podman", [*lab.podman[node].command(), "ps"])
        lines.extend(["", f"  # every node has the image {HELLO}, for what you `piccolo apply`"])
    if isinstance(lab.net, Network):
        add(f"a shell on {node} ({host.ip})", [*host.prefix(), "sh"])
    if verbs:
        dev = ["./dev", "lab"]
        add(
            f"pull the cable of {node}; freeze its agent",
            [*dev, "cut", node],
            [*dev, "freeze", node],
        )
        store = [] if lab.store == "sqlite" else ["--replace", "--store", lab.etcd_url]
        restore = ["restore", "lab.backup", "--data-dir", str(lab.master.dir / "data"), *store]
        add(
            "the master's disk dies, and a backup makes it anew",
            [*piccolo, "backup", "lab.backup"],
            [*dev, "replace", "master"],
            [*piccolo, *restore],
            [*dev, "restart", "master"],
        )
        add("what is broken, and how to break more", [*dev, "status"], [*dev, "--help"])
        add("put everything right", [*dev, "heal"])
    elif isinstance(lab.net, Network):
        nft = ["nsenter", f"--net={lab.net.hub}", "nft"]
        rules = "; ".join(
            f"add rule bridge lab forward {side} {node} drop" for side in ("iifname", "oifname")
        )
        add(f"pull the cable of {node}", [*nft, rules])
        add("put all cables back", [*nft, "flush", "chain", "bridge", "lab", "forward"])
    lines += ["", f"  # logs and data: {lab.site.dir}/*/"]
    return "\n".join(lines)


def wait_for_interrupt() -> None:
    """Until Ctrl-C or SIGTERM."""
    wanted = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        signal.sigwait(wanted)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
