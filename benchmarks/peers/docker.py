"""A Docker of its own for each host: containerd, dockerd, their data and their control groups.

Nothing of the machine itself is touched. Both run in the host's network namespace, without bridge
and without firewall rules, and share a mount namespace in which /etc/docker, where dockerd writes
its key, and /run are empty and its own. Containers carry the lab's mark, so that the reaper finds
them when Docker was killed.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import time
from typing import Any
from urllib.parse import urlencode

from tests.lab import reaper
from tests.lab.cgroup import ROOT
from tests.lab.errors import LabError
from tests.lab.net import Host
from tests.lab.podman import busybox_rootfs
from tests.lab.process import Proc
from tests.lab.site import Site

START_SECONDS = 30.0
IMAGE = "hello:latest"
COMMAND = ["sleep", "1000000"]
# containerd without the plug-in for Kubernetes, as dockerd itself starts it.
_CONTAINERD = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
_OWN_FILES = 'mount -t tmpfs none /etc/docker && mount -t tmpfs none /run && exec "$@"'


def missing() -> str:
    """Why there is no Docker here; empty: there is one."""
    programs = ("containerd", "dockerd", "docker", "runc")
    lacking = [program for program in programs if shutil.which(program) is None]
    if not lacking:
        return ""
    return f"not installed: {', '.join(lacking)} (./dev bench --peers installs docker.io, as root)"


class Docker:
    """`daemon` and `containerd` are the processes; they answer when this is made."""

    def __init__(self, site: Site, host: Host) -> None:
        self.site = site
        self.host = host
        self._dir = host.dir / "docker"
        self._dir.mkdir()
        self.socket = self._dir / "docker.sock"
        self._containerd_socket = self._dir / "containerd.sock"
        self._cgroup = f"pic-{site.id}-docker-{host.name}"
        groups = ["find", str(ROOT), "-depth", "-type", "d", "-path", f"*/{self._cgroup}*"]
        site.undo(*groups, "-exec", "rmdir", "{}", "+")
        self.containerd = self._start_containerd()
        self.daemon = self.start()

    def start(self) -> Proc:
        """Start dockerd, again after it was killed; it answers when this returns."""
        config = self._dir / "daemon.json"  # the machine's would be read else
        config.write_text("{}")
        argv = ["nsenter", f"--mount=/proc/{self.containerd.pid}/ns/mnt"]
        argv += ["dockerd", "--config-file", str(config), "--host", f"unix://{self.socket}"]
        argv += ["--data-root", str(self._dir / "data"), "--exec-root", str(self._dir / "exec")]
        argv += ["--pidfile", str(self._dir / "pid"), "--cgroup-parent", f"/{self._cgroup}"]
        argv += ["--containerd", str(self._containerd_socket)]
        argv += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
        self.daemon = Proc(self.site, self.host, "dockerd", argv)
        self._wait(self.daemon, self._answers)
        return self.daemon

    def import_image(self) -> None:
        """Of busybox, from no registry. Its command sleeps."""
        repository, _, tag = IMAGE.partition(":")
        query = {"fromSrc": "-", "repo": repository, "tag": tag}
        query["changes"] = f"CMD {json.dumps(COMMAND)}"
        path = f"/images/create?{urlencode(query)}"
        self.api("POST", path, busybox_rootfs(), "application/x-tar")

    def rss_kb(self) -> int:
        """Resident memory of both, in KiB."""
        return self.daemon.rss_kb() + self.containerd.rss_kb()

    def api(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """Ask the daemon; return the decoded answer, None when it is not JSON.

        Raises `LabError` with the daemon's words, `OSError` when there is no answer.
        """
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection = http.client.HTTPConnection("docker", timeout=START_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(START_SECONDS)
        try:
            connection.sock.connect(str(self.socket))
            connection.request(method, path, data, {"Content-Type": content_type})
            response = connection.getresponse()
            text = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self.socket}: {error!r}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise LabError(f"{method} {path}: {response.status}: {text.decode(errors='replace')}")
        is_json = response.getheader("Content-Type", "").startswith("application/json")
        return json.loads(text) if text and is_json else None

    def _start_containerd(self) -> Proc:
        config = self._dir / "containerd.toml"
        config.write_text(_CONTAINERD)
        argv = ["unshare", "--mount", "sh", "-c", _OWN_FILES, "sh"]
        argv += ["containerd", "--config", str(config), "--address", str(self._containerd_socket)]
        argv += ["--root", str(self._dir / "containerd"), "--state", str(self._dir / "state")]
        containerd = Proc(self.site, self.host, "containerd", argv)
        self._wait(containerd, self._containerd_socket.exists)
        return containerd

    def _answers(self) -> bool:
        try:
            self.api("GET", "/_ping")
        except OSError:
            return False
        return True

    def _wait(self, program: Proc, works: Any) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not works():
            if not program.alive or time.monotonic() > deadline:
                raise program.error("does not work here")
            time.sleep(0.02)


def mark(site: Site) -> str:
    """What the environment of every container has to hold."""
    return f"{reaper.CONTAINER_MARK}={site.id}"
