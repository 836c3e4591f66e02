"""A PICCOLO cluster on one machine: a master and nodes, each on a host of its own.

    with Lab(nodes=3) as lab:
        lab.start_master()
        lab.start_agents()
        with lab.watch_nodes() as watch:
            lab.net.cut("node3")
            watch.wait_status("node3", "NotReady", timeout=5)

`Lab.faults` has all that can be broken, with its undo: see `tests.lab.faults`.
`Lab` gives each host a network namespace and each node a Podman, and needs root. `LoopbackLab` has
the same interface, everything on loopback addresses, no faults in the network, and the Podman whose
socket it is given, if any.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.lab import net, podman
from tests.lab.clock import FAKETIME, Clock
from tests.lab.disk import Disk
from tests.lab.errors import LabError
from tests.lab.faults import Faults
from tests.lab.loopback import LoopbackNetwork
from tests.lab.net import Host, Network
from tests.lab.podman import PodmanNode
from tests.lab.process import Limit, Proc
from tests.lab.site import Site
from tests.lab.watch import Watch

PORT = 50051
ETCD_PORT, ETCD_PEER_PORT = 2379, 2380
LISTEN_SECONDS = 20.0
READY_SECONDS = 20.0
CLIENT_SECONDS = 30.0


def find_piccolo() -> Path:
    """The program beside the Python that runs us (its virtual environment), else on the PATH."""
    beside = Path(sys.executable).parent / "piccolo"
    found = beside if beside.exists() else shutil.which("piccolo")
    if found is None:
        raise LabError("no piccolo program here: ./dev setup makes .venv/bin/piccolo")
    return Path(found)


class Lab:
    """A cluster that is gone, with all it started, at the end of the `with` block."""

    def __init__(
        self,
        nodes: int | Iterable[str] = 3,
        *,
        podman: bool = True,
        store: Literal["sqlite", "etcd"] = "sqlite",
        piccolo: Path | str | None = None,
        disk_mb: int = 0,
        clocks: bool = False,
    ) -> None:
        """`nodes`: how many (node1, node2, …), or their names. Raises `LabError` if impossible.

        `disk_mb`: each data directory is a disk of that size, which can be full or fail; `clocks`:
        master and agents run with a clock that can be set, by faketime.
        """
        if clocks and FAKETIME is None:
            raise LabError("no clock can be set here: apt-get install faketime")
        if lacking := self.missing(podman):
            raise LabError(f"this machine lacks for a lab: {', '.join(lacking)}")
        self._begin(nodes, store, piccolo)
        self._disk_mb, self._has_clocks = disk_mb, clocks
        try:
            self.net: Network | LoopbackNetwork = Network(self.site)
            self._add_hosts()
            if podman:
                self._start_podman()
        except BaseException:
            self.site.close()
            raise

    @staticmethod
    def missing(with_podman: bool = True) -> list[str]:
        """What this machine lacks for a lab; empty: it can have one."""
        return net.missing() + (podman.missing() if with_podman else [])

    def _begin(self, nodes: int | Iterable[str], store: str, piccolo: Path | str | None) -> None:
        self.names = (
            [f"node{n}" for n in range(1, nodes + 1)] if isinstance(nodes, int) else list(nodes)
        )
        self.store = store
        self.program = Path(piccolo) if piccolo else find_piccolo()
        self.master_proc: Proc | None = None
        self.etcd_proc: Proc | None = None
        self.agents: dict[str, Proc] = {}
        self.podman: dict[str, PodmanNode] = {}
        self.sockets: dict[str, Path] = {}
        self.disks: dict[str, Disk] = {}
        self.clocks: dict[str, Clock] = {}
        self.token = ""
        self.faults = Faults(self)
        self._disk_mb, self._has_clocks = 0, False
        self._again: dict[str, Callable[[], Proc]] = {}
        self.site = Site()

    def _add_hosts(self) -> None:
        self.master = self._add_host("master")
        self.nodes = {name: self._add_host(name) for name in self.names}

    def _add_host(self, name: str) -> Host:
        host = self.net.add_host(name)
        if self._disk_mb:
            self.disks[name] = Disk(self.site, host.dir / "data", self._disk_mb)
        if self._has_clocks:
            self.clocks[name] = Clock(host.dir)
        return host

    def _start_podman(self) -> None:
        for name in self.names:
            self._add_podman(name)
        for node in self.podman.values():
            node.wait_service()
            node.import_image()

    def _add_podman(self, name: str) -> PodmanNode:
        node = self.podman[name] = PodmanNode(self.site, self.nodes[name])
        self.sockets[name] = node.socket
        node.start_service(wait=False)
        return node

    def add_node(self, name: str) -> Host:
        """A further machine like the others, on which nothing of PICCOLO runs yet."""
        host = self.nodes[name] = self._add_host(name)
        self.names.append(name)
        if self.podman:
            node = self._add_podman(name)
            node.wait_service()
            node.import_image()
        return host

    @property
    def address(self) -> str:
        """Of the master, "host:port"."""
        return f"{self.master.ip}:{PORT}"

    def start_master(
        self,
        *extra: str,
        config: str | None = None,
        env: Mapping[str, str] | None = None,
        limit: Limit | None = None,
        wait: bool = True,
    ) -> Proc:
        """Start the master, and its etcd before it; `config` is the text of a node.yaml.

        Again after its end: with the state it left. Returns when it listens, unless not waited for.
        """
        argv = [str(self.program), "master", "--data-dir", str(self.master.dir / "data")]
        argv += ["--listen", self.address, "--store", self._store_url()]
        if config is not None:
            file = self.master.dir / "node.yaml"
            file.write_text(config)
            argv += ["--config", str(file)]
        argv += extra
        again = partial(self.start_master, *extra, config=config, env=env, limit=limit)
        self._again["master"] = again
        self.master_proc = self._start(self.master, "master", argv, env or {}, limit)
        if wait:
            self.wait_listening(self.master_proc, PORT)
            self._wait_context(self.master_proc)
        return self.master_proc

    def _wait_context(self, master: Proc) -> None:
        """At its first start the master writes the administrator's context when it listens."""
        deadline = time.monotonic() + LISTEN_SECONDS
        while not self.context.exists():
            if not master.alive or time.monotonic() > deadline:
                raise master.error(f"did not write {self.context}")
            time.sleep(0.01)

    def start_agent(
        self,
        name: str,
        *extra: str,
        master: str = "",
        called: str = "",
        env: Mapping[str, str] | None = None,
        limit: Limit | None = None,
    ) -> Proc:
        """Start a node's agent; again after its end: with the identity it left.

        `master`: another address than the lab's; `called`: another name than the host's. It has the
        lab's token, unless `env` has another.
        """
        again = partial(
            self.start_agent, name, *extra, master=master, called=called, env=env, limit=limit
        )
        self._again[name] = again
        host = self.nodes[name]
        argv = [str(self.program), "agent", "--master", master or self.address]
        argv += ["--name", called or name]
        argv += ["--data-dir", str(host.dir / "data")]
        if name in self.sockets:
            argv += ["--podman-socket", str(self.sockets[name])]
        argv += extra
        token = {"PICCOLO_TOKEN": self.join_token()}
        self.agents[name] = self._start(host, "agent", argv, {**token, **(env or {})}, limit)
        return self.agents[name]

    def was_started(self, host: str) -> bool:
        return host in self._again

    def start_again(self, host: str) -> Proc:
        """Start the master or a node's agent as it was started last."""
        if not self.was_started(host):
            raise LabError(f"nothing was ever started on {host}")
        return self._again[host]()

    def _start(
        self,
        host: Host,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        limit: Limit | None,
    ) -> Proc:
        """One of our own programs, by the host's clock if it has one."""
        clock = self.clocks.get(host.name)
        if clock is None:
            return Proc(self.site, host, name, argv, env=env, limit=limit)
        proc = Proc(self.site, host, name, argv, env={**clock.env, **env}, limit=limit)
        self.site.undo("rm", "-f", *clock.traces(proc.pid))
        return proc

    def join_token(self) -> str:
        """A token that is good for all nodes of the lab; empty while there is no master to ask."""
        if not self.token and self.master_proc is not None and self.master_proc.alive:
            made = self.piccolo("token", "create", "--uses", "2000", "-o", "json")
            self.token = json.loads(made.stdout)["token"]
        return self.token

    @property
    def context(self) -> Path:
        """Of the administrator."""
        return self.master.dir / "data" / "admin.yaml"

    def start_agents(self, *extra: str, timeout: float = READY_SECONDS) -> None:
        """Start the agents of all nodes and wait until the master shows them Ready."""
        with self.watch_nodes() as watch:
            for name in self.nodes:
                self.start_agent(name, *extra)
            for name in self.nodes:
                watch.wait_status(name, "Ready", timeout)

    def start_etcd(self) -> Proc:
        """Start an etcd on the master's host, with the data it left, if any."""
        client = f"http://{self.master.ip}:{ETCD_PORT}"
        peer = f"http://{self.master.ip}:{ETCD_PEER_PORT}"
        argv = ["etcd", "--name", "lab", "--data-dir", str(self.master.dir / "etcd")]
        argv += ["--listen-client-urls", client, "--advertise-client-urls", client]
        argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        argv += ["--initial-cluster", f"lab={peer}"]
        self.etcd_proc = Proc(self.site, self.master, "etcd", argv)
        self.wait_listening(self.etcd_proc, ETCD_PORT)
        return self.etcd_proc

    def piccolo(
        self,
        *args: str,
        host: Host | None = None,
        timeout: float = CLIENT_SECONDS,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run `piccolo ARGS` on a host, by default the master's. Raises `LabError` on failure."""
        argv = [*(host or self.master).prefix(), str(self.program), *args]
        return self.site.run(argv, env=self.client_env(), timeout=timeout, check=check)

    def get(self, *args: str) -> Any:
        """What `piccolo get ARGS -o json` prints, decoded."""
        return json.loads(self.piccolo("get", *args, "-o", "json").stdout)

    def watch(self, *args: str, host: Host | None = None) -> Watch:
        """Follow `piccolo ARGS`, which prints a JSON object per line."""
        proc = Proc(
            self.site,
            host or self.master,
            "watch",
            [str(self.program), *args],
            env=self.client_env(),
            stdout=subprocess.PIPE,
        )
        return Watch(proc)

    def watch_nodes(self, host: Host | None = None) -> Watch:
        """Follow the nodes; returns when the list as it is now has been read."""
        watch = self.watch("get", "nodes", "-w", "-o", "json", host=host)
        try:
            watch.wait_synced()
        except BaseException:
            watch.close()
            raise
        return watch

    def client_env(self) -> dict[str, str]:
        """By which a client finds the master, and is let in."""
        return {"PICCOLO_MASTER": self.address, "PICCOLO_CONTEXT": str(self.context)}

    def wait_listening(self, proc: Proc, port: int, timeout: float = LISTEN_SECONDS) -> None:
        """Wait until something listens on that TCP port of the program's host."""
        deadline = time.monotonic() + timeout
        while True:
            with proc.host.socket() as probe:
                if probe.connect_ex((proc.host.ip, port)) == 0:
                    return
            if not proc.alive:
                raise proc.error(f"ended ({proc.exit_code})")
            if time.monotonic() > deadline:
                raise proc.error(f"does not listen on port {port} after {timeout:g} s")
            time.sleep(0.02)

    def close(self) -> None:
        """Remove everything. May be called again."""
        self.site.close()

    def _store_url(self) -> str:
        if self.store != "etcd":
            return self.store
        if self.etcd_proc is None or not self.etcd_proc.alive:
            self.start_etcd()
        return self.etcd_url

    @property
    def etcd_url(self) -> str:
        return f"etcd://{self.master.ip}:{ETCD_PORT}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class LoopbackLab(Lab):
    """A lab without root. All nodes share the Podman whose socket is given."""

    def __init__(
        self,
        nodes: int | Iterable[str] = 3,
        *,
        podman_socket: Path | None = None,
        store: Literal["sqlite", "etcd"] = "sqlite",
        piccolo: Path | str | None = None,
    ) -> None:
        self._begin(nodes, store, piccolo)
        self.net = LoopbackNetwork(self.site)
        self._add_hosts()
        for name, host in self.nodes.items():
            # An agent that is told of none looks for the machine's own.
            self.sockets[name] = podman_socket or host.dir / "no-podman.sock"
