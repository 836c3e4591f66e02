"""Rules about the machine itself: what it has left, and what its kernel can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from piccolo.core.readiness.facts import Facts, FileSystem, Kernel, Machine, Podman, User
from piccolo.core.readiness.finding import Finding, error, ok, unknown, warning

LOAD_PER_CORE = 0.8  # LLD 3.2.3
MEMORY_AVAILABLE_PERCENT = 20  # LLD 3.2.3
DISK_WARNS_PERCENT, DISK_FAILS_PERCENT = 80, 90
OLDEST_PODMAN = 4  # whose API the agent speaks
CONTROLLERS = ("cpu", "memory", "pids")
NAMESPACES = ("ipc", "mnt", "net", "pid", "uts")
IDS = 65536  # a container's users, as most images have them

_IN_TIME = "it was not found out in time; try again"


def findings(facts: Facts) -> Iterator[Finding]:
    yield from resources(facts.machine)
    yield from storage(facts.disks)
    yield from kernel(facts.kernel, facts.user)
    yield subids(facts.user)
    yield from podman(facts.podman, facts.user, facts.site.podman_sockets)


def resources(machine: Machine | None) -> Iterator[Finding]:
    if machine is None or machine.load is None or not machine.cores:
        yield unknown("cpu", "the load cannot be read")
    else:
        per_core = machine.load / machine.cores
        seen = f"load {machine.load:.2f} on {machine.cores} cores, {per_core:.2f} each"
        # In hundredths, which is what the kernel tells: exact, and what a shell can do too.
        if round(machine.load * 100) > round(LOAD_PER_CORE * 100) * machine.cores:
            fix = "see with top what is busy, and stop or move it"
            yield warning("cpu", f"{seen}: more than {LOAD_PER_CORE}", fix)
        else:
            yield ok("cpu", seen)
    if machine is None or machine.memory_available_percent is None:
        yield unknown("memory", "/proc/meminfo does not tell")
        return
    seen = f"{machine.memory_available_percent:.0f} % available"
    if machine.memory_available_percent < MEMORY_AVAILABLE_PERCENT:
        fix = "see with top what uses it, and stop or move it; or give the machine more"
        yield warning("memory", f"{seen}: less than {MEMORY_AVAILABLE_PERCENT} %", fix)
    else:
        yield ok("memory", seen)


def storage(disks: Sequence[FileSystem] | None) -> Iterator[Finding]:
    """The worst one speaks for all."""
    if not disks:
        yield unknown("disk", "the file systems do not answer")
        yield unknown("inodes", "the file systems do not answer")
        return
    for disk in disks:
        if disk.read_only:
            fix = "mount it writable, and see dmesg: a kernel does that to a damaged disk"
            yield error("disk", f"{disk.path} is mounted read-only", fix)
            break
    else:
        worst = max(disks, key=lambda disk: disk.used_percent)
        fix = "remove what is not needed, e.g. with podman image prune; or use a larger disk"
        yield _filled("disk", worst.path, worst.used_percent, fix)
    counted = [(d.inodes_used_percent, d.path) for d in disks if d.inodes_used_percent is not None]
    if counted:
        used, path = max(counted)
        yield _filled("inodes", path, used, "find and remove directories of many small files")
    else:
        yield ok("inodes", "these file systems have no fixed number of them")


def _filled(id: str, path: str, percent: float, fix: str) -> Finding:
    seen = f"{percent:.0f} % used at {path}"
    if percent > DISK_FAILS_PERCENT:
        return error(id, f"{seen}: more than {DISK_FAILS_PERCENT} %", fix)
    if percent > DISK_WARNS_PERCENT:
        return warning(id, f"{seen}: more than {DISK_WARNS_PERCENT} %", fix)
    return ok(id, seen)


def kernel(kernel: Kernel | None, user: User | None) -> Iterator[Finding]:
    if kernel is None:
        for id in ("cgroup", "namespaces", "seccomp", "overlay"):
            yield unknown(id, _IN_TIME)
        return
    yield _cgroup(kernel)
    yield _namespaces(kernel, rootless=user is not None and not user.root)
    if kernel.seccomp:
        yield ok("seccomp", "containers run behind a filter of system calls")
    else:
        fix = "use a kernel with CONFIG_SECCOMP_FILTER"
        yield warning("seccomp", "the kernel has none: containers may use all system calls", fix)
    if kernel.overlay:
        yield ok("overlay", "the kernel has it")
    else:
        fix = "use a kernel with CONFIG_OVERLAY_FS, or install fuse-overlayfs"
        yield warning("overlay", "the kernel has none: every container is a whole copy", fix)


def _cgroup(kernel: Kernel) -> Finding:
    if not kernel.cgroup_version:
        fix = "use a kernel with CONFIG_CGROUPS, and mount them at /sys/fs/cgroup"
        return error("cgroup", "there are no control groups", fix)
    missing = [name for name in CONTROLLERS if name not in kernel.cgroup_controllers]
    seen = f"version {kernel.cgroup_version}"
    if missing:
        fix = "switch them on at the kernel's command line: cgroup_enable=memory cgroup_memory=1"
        return warning("cgroup", f"{seen}, without {', '.join(missing)}: no limits there", fix)
    if kernel.cgroup_version == 1:
        fix = "boot with systemd.unified_cgroup_hierarchy=1; version 1 works as long as Podman does"
        return warning("cgroup", f"{seen}, which newer versions of Podman no longer take", fix)
    return ok("cgroup", seen)


def _namespaces(kernel: Kernel, *, rootless: bool) -> Finding:
    missing = [name for name in NAMESPACES if name not in kernel.namespaces]
    if missing:
        fix = "use a kernel with CONFIG_NAMESPACES and all under it"
        return error("namespaces", f"the kernel has none for {', '.join(missing)}", fix)
    if rootless and not ("user" in kernel.namespaces and kernel.user_namespaces_allowed):
        fix = "as root: sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1"
        return error("namespaces", "other users than root may not make any", fix)
    return ok("namespaces", "the kernel has all that containers need")


def subids(user: User | None) -> Finding:
    if user is None:
        return unknown("subid", _IN_TIME)
    if user.root:
        return ok("subid", "not needed: containers run as root's")
    if min(user.subuids, user.subgids) < IDS:
        fix = (
            f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user.name}"
        )
        seen = f"{user.name} has {user.subuids} in /etc/subuid, {user.subgids} in /etc/subgid"
        return warning("subid", f"{seen}: rootless containers need {IDS}", fix)
    return ok("subid", f"{user.name} has {user.subuids} user and {user.subgids} group ids")


def podman(podman: Podman | None, user: User | None, sockets: Sequence[str]) -> Iterator[Finding]:
    if podman is None:
        yield unknown("podman", _IN_TIME)
        yield unknown("podman-socket", _IN_TIME)
        return
    if not podman.installed:
        yield error("podman", "not installed", "install the package podman")
        yield unknown("podman-socket", "Podman is not installed")
        return
    major = podman.version.partition(".")[0]
    if major.isdecimal() and int(major) < OLDEST_PODMAN:
        fix = f"install Podman {OLDEST_PODMAN} or newer"
        yield error("podman", f"version {podman.version} is too old", fix)
    else:
        yield ok("podman", f"version {podman.version}" if podman.version else "installed")
    if podman.socket is not None:
        yield ok("podman-socket", f"listening at {podman.socket}")
    else:
        own = "--user " if user is not None and not user.root else ""
        fix = f"systemctl {own}enable --now podman.socket"
        yield warning("podman-socket", f"nobody listens at {' or '.join(sockets)}", fix)
