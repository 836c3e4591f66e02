"""The disk that all machines begin with: a small Debian (or Ubuntu), as this machine's own.

Made by debootstrap from the mirror that apt uses here, in about a minute, and kept below
.cache/machines under a name that says what is in it: another list of packages is another tree.
Nobody writes to a tree that is kept; a machine lays its own writable layer over it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError

CACHE = Path(__file__).parents[2] / ".cache" / "machines"
BUILD_SECONDS = 900.0
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus"),
    *("podman", "runc", "conmon", "netavark", "aardvark-dns", "catatonit", "iptables", "uidmap"),
    *("curl", "ca-certificates", "iproute2", "iputils-ping", "procps"),
)
# They would write to the kernel, which is this machine's (sysctl, modules, audit), take its
# consoles, or wake up in the middle of a test.
MASKED = (
    *("systemd-sysctl.service", "systemd-modules-load.service", "systemd-journald-audit.socket"),
    *("systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-remount-fs.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount"),
    *("dev-hugepages.mount", "getty.target", "console-getty.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "fstrim.timer", "motd-news.timer"),
)
FILES = {
    # From the kernel's log it would read what all other machines do.
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nReadKMsg=no\n",
    # Podman's clean-up after a container may hang when D-Bus has ended before it: 90 s otherwise.
    "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    "etc/resolv.conf": "",  # there is nobody to ask
    "etc/machine-id": "",  # each machine gets its own
}
EMPTIED = ("var/cache/apt", "var/lib/apt/lists", "var/log")


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where a distribution comes from."""

    uri: str
    suite: str
    components: tuple[str, ...]


def find_mirror() -> Mirror:
    """The one that this machine's own system came from. Raises `LabError` when apt names none."""
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    try:
        # As apt itself reads its sources, so that their format does not matter.
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LabError(f"no apt here to ask for a mirror: {error}") from error
    return choose_mirror(suite, listed.splitlines())


def choose_mirror(suite: str, lines: Iterable[str]) -> Mirror:
    """From lines of "URI RELEASE COMPONENT": the first that has the release, with `main`."""
    found: dict[str, dict[str, None]] = {}
    for uri, release, component in (line.split() for line in lines):
        if release == suite:
            found.setdefault(uri, {})[component] = None
    for uri, components in found.items():
        if "main" in components:
            wanted = tuple(name for name in ("main", "universe") if name in components)
            return Mirror(uri, suite, wanted)
    raise LabError(f"apt has no source with {suite or 'this release'} main: see /etc/apt/sources*")


def tree() -> Path:
    """The tree, made first when there is none. Raises `LabError` when it cannot be made."""
    target = CACHE / name()
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)  # programs with set-user-ID bits
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _make(target)
    return target


def name() -> str:
    """What identifies the tree: the release and what this module puts into it."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    content = repr((PACKAGES, MASKED, FILES, EMPTIED))
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return f"{release}-{platform.machine()}-{digest}"


def missing() -> list[str]:
    """What this machine lacks for making the tree; empty: it can, or has it already."""
    if (CACHE / name()).exists():
        return []
    lacking = [] if os.geteuid() == 0 else ["root"]
    return lacking + [tool for tool in ("debootstrap", "apt-get") if shutil.which(tool) is None]


def _make(target: Path) -> None:
    if lacking := missing():
        raise LabError(
            f"no system for the machines can be made here without {lacking}: ./dev setup"
        )
    for old in CACHE.iterdir():  # those with other packages, or half made
        if old.is_dir():
            shutil.rmtree(old)
    work = Path(tempfile.mkdtemp(prefix="new-", dir=CACHE))
    work.chmod(0o755)
    _debootstrap(find_mirror(), work)
    _finish(work)
    work.rename(target)


def _debootstrap(mirror: Mirror, into: Path) -> None:
    log = CACHE / "debootstrap.log"
    argv = ["debootstrap", "--variant=minbase", f"--components={','.join(mirror.components)}"]
    argv += [f"--include={','.join(PACKAGES)}", mirror.suite, str(into), mirror.uri]
    with log.open("w") as output:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=BUILD_SECONDS
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-10:])
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}; {log} ends:\n{tail}")


def _finish(root: Path) -> None:
    for file, text in FILES.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).unlink(missing_ok=True)
        (root / file).write_text(text)
    for unit in MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for folder in EMPTIED:
        for path in (root / folder).rglob("*"):
            if path.is_file():
                path.unlink()
