"""A system that lies somewhere else: what the readiness check reads of a healthy board."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

FILES = {
    "proc/loadavg": "0.50 0.40 0.30 1/200 999\n",
    "proc/stat": "cpu  9 0 9 9\ncpu0 1 0 1 1\ncpu1 1 0 1 1\ncpu2 1 0 1 1\ncpu3 1 0 1 1\n",
    "proc/meminfo": "MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: 500000 kB\n",
    "proc/mounts": "/dev/mmcblk0p2 / ext4 rw,relatime 0 0\n",
    "proc/filesystems": "nodev\tsysfs\nnodev\toverlay\n\text4\n",
    "proc/self/status": "Name:\tx\nSeccomp:\t0\n",
    "proc/sys/kernel/osrelease": "6.1.0-rpi\n",
    "proc/net/unix": "Num RefCount Protocol Flags Type St Inode Path\n"
    "0000: 00000002 00000000 00010000 0001 01 11 /run/podman/podman.sock\n",
    "proc/net/tcp": "  sl  local_address rem_address   st\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
}
# What the script uses of a system; all but the last three are in busybox.
TOOLS = "awk cat date grep head id ls mkdir mv rm sed sh sleep stat tr wc bash curl openssl"


def make(root: Path) -> Path:
    for name, text in FILES.items():
        write(root, name, text)
    for namespace in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
        write(root, f"proc/self/ns/{namespace}", "")
    (root / "var/lib/piccolo/pki").mkdir(parents=True)
    return root


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def listener(root: Path, port: int, command: Iterable[str], table: str = "tcp") -> None:
    """A process that waits at a port."""
    state = "0A" if table.startswith("tcp") else "07"
    row = f"   0: 00000000:{port:04X} 00000000:0000 {state} 0:0 00:0 0 0 0 4711 1 0 100 0\n"
    write(root, f"proc/net/{table}", f"  sl  local_address rem_address   st\n{row}")
    write(root, "proc/321/cmdline", "".join(f"{word}\0" for word in command))
    (root / "proc/321/fd").mkdir()
    (root / "proc/321/fd/3").symlink_to("socket:[4711]")


def tools(directory: Path) -> Path:
    """A PATH of its own: what the script uses, a Podman, and a ping that gets through."""
    directory.mkdir()
    for name in TOOLS.split():
        if found := shutil.which(name):
            (directory / name).symlink_to(found)
    program(directory, "podman", "echo podman version 4.9.3")
    program(directory, "ping", "exit 0")
    return directory


def program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
