"""A machine of its own: systemd as PID 1, a disk, a journal, Podman, and one cable.

    with Network() as network:
        node = Machine(network, "node")
        node.boot()
        node.shell("systemctl status")
        node.reboot()

It is a privileged container of the lab's Podman in a namespace of the lab's network, so that it
shares the kernel with this machine and nothing else, reaches the other machines on the hub and
nobody beyond, and is gone with the lab however that ends. Its disk outlives its boots.

Found the hard way:

* On hybrid control groups Podman mounts this machine's own systemd hierarchy over the private one:
  all machines would share `system.slice`. So that mount is taken away before systemd starts.
* The kernel's boot id is this machine's, and systemd takes the machine id from the hardware's: each
  machine gets its own, and each boot, as a real one does.
* An overlay cannot lie on an overlay: what Podman stores inside is on a plain directory.
* `env` of the lab's containers.conf replaces the default PATH.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NoReturn

from tests.lab import reaper
from tests.lab.cgroup import ROOT
from tests.lab.errors import LabError
from tests.lab.net import Network
from tests.lab.podman import PodmanNode, busybox_rootfs, storage_driver
from tests.machines.tree import tree

BOOT_SECONDS = 60.0
STOP_SECONDS = 30.0
UNIT_SECONDS = 30.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IMAGE = "localhost/hello:latest"
_INIT = """
umount /sys/fs/cgroup/systemd/release_agent /sys/fs/cgroup/systemd 2>/dev/null
cp /proc/sys/kernel/random/uuid /run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
exec /sbin/init
"""
# What a directory of its own keeps, the rest of the disk being an overlay.
_VOLUMES = {"containers": "/var/lib/containers", "journal": "/var/log/journal"}


class Machine:
    """A machine that is off until it is booted. `root` is its disk, seen from here."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.host = network.add_host(name)
        self.ip = self.host.ip
        self._site = network.site
        self._podman = PodmanNode(network.site, self.host)
        self._exists = False
        disk = self.host.dir / "disk"
        for part in ("upper", "work", "root", *_VOLUMES):
            (disk / part).mkdir(parents=True)
        self.root = disk / "root"
        self._lay_disk(tree(), disk)
        self.path("/etc/machine-id").write_text(f"{secrets.token_hex(16)}\n")

    def _lay_disk(self, base: Path, disk: Path) -> None:
        if storage_driver(disk) == "overlay":
            layers = f"lowerdir={base},upperdir={disk}/upper,workdir={disk}/work"
            self._site.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)])
        else:
            self._site.run(["cp", "-a", "--reflink=auto", f"{base}/.", str(self.root)], timeout=300)

    def boot(self, timeout: float = BOOT_SECONDS) -> None:
        """Switch it on; returns when all that starts at boot has started."""
        if self._exists:
            self._podman.start(self.name)
        else:
            self._create()
        deadline = time.monotonic() + timeout
        while (state := self._state()) not in ("running", "degraded"):
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} is not up after {timeout:g} s, but {state}")
            time.sleep(0.1)

    def reboot(self) -> None:
        """As an operator does it: everything is stopped in good order, and started again."""
        self.shut_down()
        self.boot()

    def shut_down(self, timeout: float = STOP_SECONDS) -> None:
        """Raises `LabError` when it takes longer: some unit does not let itself be stopped."""
        self._podman.kill(self.name, "RTMIN+3")  # systemd(1): like `systemctl halt`
        self._podman.podman("wait", self.name, timeout=timeout)

    def power_off(self) -> None:
        """Pull the plug."""
        self._podman.kill(self.name)
        self._podman.podman("wait", self.name)

    def run(
        self, *argv: str, input: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as root. Raises `LabError` when it fails, with all it said."""
        stdin = [] if input is None else ["--interactive"]
        command = [*self._podman.command(), "exec", "--workdir=/root", *stdin, self.name, *argv]
        done = self._site.run(command, input=input, timeout=timeout, check=False)
        if check and done.returncode != 0:
            said = f"{done.stdout}{done.stderr}".strip()
            raise LabError(f"{self.name}: {shlex.join(argv)}: exit {done.returncode}: {said}")
        return done

    def shell(self, line: str, timeout: float = 30.0, check: bool = True) -> str:
        """Type a line into root's login shell; return what it writes to the standard output."""
        return self.run("bash", "-lc", line, timeout=timeout, check=check).stdout

    def type(self, line: str, timeout: float = 60.0) -> str:
        """Type a line at a terminal, as a person does; return all that it shows.

        Programs see a terminal, and behave accordingly. Raises `LabError` when the line fails.
        """
        command = ["script", "--quiet", "--return", "--command", line, "/dev/null"]
        return self.run(*command, timeout=timeout).stdout.replace("\r\n", "\n")

    def interact(self) -> None:
        """A shell for a person at our terminal."""
        subprocess.run(shlex.split(self.command("bash", "-l")), check=False)

    def command(self, *argv: str) -> str:
        """What to type on this machine to run something on that one, at a terminal."""
        return shlex.join(
            [*self._podman.command(), "exec", "-it", "--workdir=/root", self.name, *argv]
        )

    def path(self, inside: str) -> Path:
        """Where a file of its disk is for us; not for what is mounted there: /run, /tmp, /proc."""
        return self.root / inside.lstrip("/")

    def copy_in(self, source: Path, target: str) -> None:
        """Put a file onto its disk, under that name."""
        self.path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, self.path(target))

    def import_image(self, reference: str = IMAGE) -> None:
        """Give its Podman an image of busybox, without a registry."""
        archive = self.path("/root/image.tar")
        archive.write_bytes(busybox_rootfs())
        self.run("podman", "import", "--quiet", "/root/image.tar", reference)
        archive.unlink()

    def show(self, unit: str, prop: str) -> str:
        """A property of a unit: systemctl(1) show."""
        return self.run("systemctl", "show", "--value", "--property", prop, unit).stdout.strip()

    def wait_unit(self, unit: str, state: str = "active", timeout: float = UNIT_SECONDS) -> None:
        """Wait until its ActiveState is `state`. Raises `LabError` with its journal."""
        self.wait_shown(unit, "ActiveState", state, timeout)

    def wait_shown(self, unit: str, prop: str, wanted: str, timeout: float = UNIT_SECONDS) -> None:
        deadline = time.monotonic() + timeout
        while (found := self.show(unit, prop)) != wanted:
            if time.monotonic() > deadline:
                self._fail(unit, f"{prop} is {found!r} after {timeout:g} s, not {wanted!r}")
            time.sleep(0.1)

    def wait_main_pid(self, unit: str, other_than: int, timeout: float = UNIT_SECONDS) -> int:
        """Wait until the unit is active with another process than that one; return its pid."""
        deadline = time.monotonic() + timeout
        while True:
            shown = self.run("systemctl", "show", "-p", "MainPID,ActiveState", unit).stdout
            found = dict(line.split("=", 1) for line in shown.split())
            pid = int(found["MainPID"])
            if found["ActiveState"] == "active" and pid not in (0, other_than):
                return pid
            if time.monotonic() > deadline:
                self._fail(unit, f"has no new process after {timeout:g} s: {found}")
            time.sleep(0.1)

    def main_pid(self, unit: str) -> int:
        """Its process number inside; 0: it has none."""
        return int(self.show(unit, "MainPID"))

    def signal(self, unit: str, sig: signal.Signals) -> None:
        """Send a signal to the main process of a unit, and to no other."""
        self.run("systemctl", "kill", "--kill-who=main", f"--signal={sig.name}", unit)

    def journal(self, unit: str, boot: int = 0) -> str:
        """What a unit wrote, and systemd about it; `boot` 0 is this one, -1 the one before."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-b", str(boot), "-u", unit).stdout

    def files(self) -> dict[str, str]:
        """What is on its disk, the parts that live in memory apart: path → kind, mode, target."""
        found = self.run("find", "/", "-xdev", "-printf", r"%p\t%y %m %u:%g %l\n").stdout
        return dict(line.split("\t", 1) for line in found.splitlines())

    def _create(self) -> None:
        group = f"pic-{self._site.id}-{self.name}"
        # Podman removes the container's group, not its parent, and nothing when it is killed.
        remove = f"find {ROOT} -depth -type d -path '*/{group}*' -exec rmdir {{}} +"
        self._site.undo("sh", "-c", remove, stage=reaper.GROUND)
        options = ["--systemd=always", "--privileged", "--cgroupns=private", "--network=host"]
        options += [f"--hostname={self.name}", f"--cgroup-parent=/{group}", f"--env=PATH={PATH}"]
        options += ["--no-hosts", "--dns=none"]
        for part, inside in _VOLUMES.items():
            options.append(f"--volume={self.root.parent / part}:{inside}")
        command = ["--rootfs", str(self.root), "/bin/sh", "-c", _INIT]
        self._podman.podman("run", "--detach", f"--name={self.name}", *options, *command)
        self._exists = True

    def _state(self) -> str:
        asked = self.run("systemctl", "is-system-running", check=False)
        return asked.stdout.strip() or asked.stderr.strip()

    def _fail(self, unit: str, what: str) -> NoReturn:
        journal = "\n".join(self.journal(unit).splitlines()[-15:])
        raise LabError(f"{unit} on {self.name}: {what}; its journal ends:\n{journal}")
