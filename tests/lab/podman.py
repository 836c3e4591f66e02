"""A Podman of its own for each host: storage, locks, networks and containers apart.

What it takes on a plain machine, found the hard way:

* `CONTAINERS_CONF` and `CONTAINERS_STORAGE_CONF` name the node's own files: what /etc holds does
  not matter, and nothing is written there. Ulimits are lowered: Podman's default asks for more than
  a plain VM permits, and runc then fails with "operation not permitted".
* runc where there is one: crun refuses hybrid cgroups. `cgroupfs`, files for events and logs:
  there may be no systemd.
* `lock_type = "file"`: the default, shared memory, is one for the whole machine, and a Podman that
  starts with a fresh `--tmpdir` frees all locks in it, those of the other nodes too.
* `network_config_dir` would be the machine's, in /etc, otherwise.
* Everything runs by `nsenter --net`, the commands too: containers on the host network take the
  network of the Podman that starts them, and `podman rm` unmakes networks where it stands.
* Storage is overlay where the file system can, else vfs, which copies the image per container.
* Containers and their conmon outlive the service. conmon passes on only the variables listed for
  it, so both kinds get their own mark, by which the reaper finds them if `podman rm` fails.
* The same goes for flags: conmon runs `podman container cleanup` after a container with the
  settings of the configuration files, but without `--runtime-flag`. Moving runc's state by that
  flag therefore leaves it and its control groups behind, and no container can be started again.
* Images come from no registry: `hello` is busybox-static in a tar file.

The service is only one user of the storage: `run`, `stop`, `rm` are commands of their own, and
work with the service paused or stopped.
"""

from __future__ import annotations

import functools
import http.client
import io
import json
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.lab import reaper
from tests.lab.errors import LabError
from tests.lab.net import Host
from tests.lab.process import Proc
from tests.lab.site import Site

HELLO = "localhost/hello:latest"
API = "/v4.0.0/libpod"
START_SECONDS = 20.0
_HELLO_COMMAND = 'trap "exit 0" TERM; while :; do echo hello; sleep 5 & wait $!; done'


class PodmanNode:
    """The Podman of one host. `socket` is the address of its service, once that was started."""

    def __init__(self, site: Site, host: Host) -> None:
        self.site = site
        self.host = host
        self.socket = host.dir / "podman.sock"
        self.service: Proc | None = None
        self._env = {
            "CONTAINERS_CONF": self._write("containers.conf", self._containers_conf()),
            "CONTAINERS_STORAGE_CONF": self._write("storage.conf", self._storage_conf()),
        }
        self._argv = ["podman"]
        rm = [*host.prefix(), *self._argv, "rm", "--force", "--all", "--time", "0"]
        site.undo(*rm, env=self._env, stage=reaper.CONTAINERS)

    def start_service(self, wait: bool = True) -> None:
        """Start `podman system service`; it listens when this returns, unless not waited for."""
        self.socket.unlink(missing_ok=True)
        argv = [*self._argv, "system", "service", "--time=0", f"unix://{self.socket}"]
        self.service = Proc(self.site, self.host, "podman", argv, env=self._env)
        if wait:
            self.wait_service()

    def wait_service(self, timeout: float = START_SECONDS) -> None:
        """Wait until the service answers. Raises `LabError` after `timeout` seconds."""
        service = self._service()
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.api("GET", "/_ping")
                return
            except OSError as error:
                if not service.alive or time.monotonic() > deadline:
                    raise service.error("does not answer") from error
                time.sleep(0.02)

    def stop_service(self) -> None:
        """End the service as systemd would; containers run on."""
        service = self._service()
        service.thaw()
        service.terminate()

    def kill_service(self) -> None:
        service = self._service()
        service.kill()
        service.wait()

    def pause_service(self) -> None:
        """Freeze the service: it accepts connections and never answers."""
        self._service().freeze()

    def resume_service(self) -> None:
        self._service().thaw()

    def import_image(self, reference: str = HELLO, command: Sequence[str] = ()) -> None:
        """Make an image of busybox, through the service. Its command greets every five seconds."""
        cmd = json.dumps(list(command) or ["sh", "-c", _HELLO_COMMAND])
        query = urlencode({"reference": reference, "changes": f"CMD {cmd}"})
        self.api("POST", f"{API}/images/import?{query}", busybox_rootfs(), "application/x-tar")

    def run(
        self,
        name: str,
        *command: str,
        image: str = HELLO,
        network: str = "host",
        options: Sequence[str] = (),
    ) -> str:
        """Start a container in the background; return its id."""
        done = self.podman(
            "run", "--detach", "--name", name, "--network", network, *options, image, *command
        )
        return done.stdout.strip()

    def start(self, name: str) -> None:
        self.podman("start", name)

    def stop(self, name: str, seconds: int = 5) -> None:
        """Stop a container: SIGTERM, and SIGKILL when it runs on after `seconds`."""
        self.podman("stop", "--time", str(seconds), name)

    def kill(self, name: str, sig: str = "KILL") -> None:
        self.podman("kill", "--signal", sig, name)

    def rm(self, name: str) -> None:
        """Remove a container, running or not."""
        self.podman("rm", "--force", "--time", "0", name)

    def containers(self) -> list[dict[str, Any]]:
        """All containers, stopped ones too, as the service lists them."""
        found: list[dict[str, Any]] = self.api("GET", f"{API}/containers/json?all=true")
        return found

    def podman(
        self, *args: str, timeout: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `podman ARGS` on this node. Raises `LabError` when it fails."""
        argv = [*self.host.prefix(), *self._argv, *args]
        return self.site.run(argv, env=self._env, timeout=timeout, check=check)

    def command(self) -> list[str]:
        """What to type for `podman` on this node."""
        settings = [f"{name}={value}" for name, value in self._env.items()]
        return [*self.host.prefix(), "env", *settings, *self._argv]

    def api(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
    ) -> Any:
        """Ask the service; return the decoded answer, None when it is empty or not JSON.

        Raises `LabError` with the service's words, `OSError` when there is no answer.
        """
        connection = http.client.HTTPConnection("podman", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        try:
            connection.sock.connect(str(self.socket))
            connection.request(method, path, body, {"Content-Type": content_type})
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

    def _service(self) -> Proc:
        if self.service is None:
            raise LabError(f"the Podman service of {self.host.name} was never started")
        return self.service

    def _write(self, name: str, text: str) -> str:
        (self.host.dir / name).write_text(text)
        return str(self.host.dir / name)

    def _containers_conf(self) -> str:
        mark = f"{reaper.CONTAINER_MARK}={self.site.id}"
        return f"""\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
env = ["{mark}"]
[engine]
runtime = "{"runc" if shutil.which("runc") else "crun"}"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{self.host.dir / "tmp"}"
conmon_env_vars = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "{mark}"]
[network]
network_config_dir = "{self.host.dir / "networks"}"
"""

    def _storage_conf(self) -> str:
        return f"""\
[storage]
driver = "{storage_driver(self.site.dir)}"
graphroot = "{self.host.dir / "root"}"
runroot = "{self.host.dir / "run"}"
"""


def storage_driver(scratch: Path) -> str:
    """overlay when the file system of `scratch` can hold one, else vfs."""
    parts = {name: scratch / "overlay-trial" / name for name in ("lower", "upper", "work", "here")}
    for part in parts.values():
        part.mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", layers, str(parts["here"])]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return "vfs"
    subprocess.run(["umount", str(parts["here"])], check=True)
    return "overlay"


def missing() -> list[str]:
    """What this machine lacks for a `PodmanNode`; empty: it can have one."""
    tools = ("podman", "conmon", "catatonit")  # the last one runs in pods
    lacking = [tool for tool in tools if shutil.which(tool) is None]
    if not any(map(shutil.which, ("runc", "crun"))):
        lacking.append("runc")
    if static_busybox() is None:
        lacking.append("busybox-static")
    return lacking


def static_busybox() -> Path | None:
    """The machine's busybox, if it needs no libraries."""
    found = shutil.which("busybox")
    if found is None or b"/ld-" in Path(found).read_bytes():
        return None
    return Path(found)


@functools.cache
def busybox_rootfs() -> bytes:
    """A root file system as a tar file: busybox under all its names. Made in some 15 ms."""
    busybox = static_busybox()
    if busybox is None:
        raise LabError("no statically linked busybox here: apt-get install busybox-static")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        program = tarfile.TarInfo("bin/busybox")
        program.mode = 0o755
        program.size = busybox.stat().st_size
        with busybox.open("rb") as file:
            tar.addfile(program, file)
        for name in sorted(set(listed.stdout.split()) - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type = tarfile.SYMTYPE
            link.linkname = "busybox"
            tar.addfile(link)
        for name in ("tmp", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            folder.mode = 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
    return content.getvalue()
