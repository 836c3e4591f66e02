"""What the kernel offers to containers, and how many user ids are set aside for them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from piccolo.core.readiness.facts import Kernel, User
from piccolo.host.bounded import text


def kernel(root: Path) -> Kernel:
    version, controllers = _cgroups(root)
    return Kernel(
        cgroup_version=version,
        cgroup_controllers=controllers,
        namespaces=_namespaces(root),
        user_namespaces_allowed=_user_namespaces_allowed(root / "proc/sys"),
        seccomp="\nSeccomp:" in text(root / "proc/self/status"),
        overlay=_overlay(root),
    )


def _cgroups(root: Path) -> tuple[int, frozenset[str]]:
    """cgroups(7). Version 1 beside an empty version 2 ("hybrid") is version 1."""
    unified = root / "sys/fs/cgroup/cgroup.controllers"
    if unified.exists():
        return 2, frozenset(text(unified).split())
    rows = [line.split() for line in text(root / "proc/cgroups").splitlines()]
    enabled = frozenset(r[0] for r in rows if len(r) == 4 and r[0][0] != "#" and r[3] == "1")
    return (1 if enabled else 0), enabled


def _namespaces(root: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(root / "proc/self/ns"))
    except OSError:
        return frozenset()


def _user_namespaces_allowed(sysctl: Path) -> bool:
    """The second is a switch of Debian's kernels."""
    switches = ("user/max_user_namespaces", "kernel/unprivileged_userns_clone")
    return all(text(sysctl / name).strip() != "0" for name in switches)


def _overlay(root: Path) -> bool:
    """In the kernel, or a module that it will load when it is needed."""
    if "overlay" in text(root / "proc/filesystems").split():
        return True
    modules = root / "lib/modules" / text(root / "proc/sys/kernel/osrelease").strip()
    return any("/overlay.ko" in text(modules / f"modules.{kind}") for kind in ("dep", "builtin"))


def user(root: Path) -> User:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    names = (name, str(uid))
    return User(
        name=name,
        root=uid == 0,
        subuids=_set_aside(text(root / "etc/subuid"), names),
        subgids=_set_aside(text(root / "etc/subgid"), names),
    )


def _set_aside(table: str, names: tuple[str, str]) -> int:
    """subuid(5): name:first:count. The name may be a number too."""
    rows = (line.split(":") for line in table.splitlines())
    return sum(int(r[2]) for r in rows if len(r) == 3 and r[0] in names and r[2].isdecimal())
