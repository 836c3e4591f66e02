"""Real etcd servers on free ports of the loopback interface."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EtcdServer:
    """One member. Its data stays when it is stopped or killed, so it can be started again."""

    def __init__(self, directory: Path, *options: str, scheme: str = "http") -> None:
        self.name = directory.name
        self.port = free_port()
        self.peer_port = free_port()
        self.client_url = f"{scheme}://127.0.0.1:{self.port}"
        self.members = f"{self.name}=http://127.0.0.1:{self.peer_port}"
        self._directory = directory
        self._options = options
        self._log = directory.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        peer_url = f"http://127.0.0.1:{self.peer_port}"
        self._log.write_bytes(b"")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "etcd",
                    f"--name={self.name}",
                    f"--data-dir={self._directory}",
                    f"--listen-client-urls={self.client_url}",
                    f"--advertise-client-urls={self.client_url}",
                    f"--listen-peer-urls={peer_url}",
                    f"--initial-advertise-peer-urls={peer_url}",
                    f"--initial-cluster={self.members}",
                    "--heartbeat-interval=50",
                    "--election-timeout=300",
                    "--logger=zap",
                    *self._options,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"]},
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it serves clients."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while b'"serving client traffic' not in self._log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"etcd does not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def ctl(self, *arguments: str) -> str:
        """What etcdctl prints."""
        return etcdctl(["--endpoints", self.client_url, *arguments])


def etcdctl(arguments: Sequence[str]) -> str:
    return subprocess.run(
        ["etcdctl", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "ETCDCTL_API": "3"},
    ).stdout


class EtcdCluster:
    """Several members."""

    def __init__(self, directory: Path, size: int = 3) -> None:
        directory.mkdir(exist_ok=True)
        self.servers = [EtcdServer(directory / f"m{number}") for number in range(size)]
        members = ",".join(server.members for server in self.servers)
        for server in self.servers:
            server.members = members

    @property
    def address(self) -> str:
        return ",".join(server.address for server in self.servers)

    def start(self) -> None:
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            server.wait()

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def leader(self) -> EtcdServer:
        for server in self.servers:
            fields = server.ctl("endpoint", "status").split(", ")
            if fields[4] == "true":
                return server
        raise RuntimeError("no leader")
