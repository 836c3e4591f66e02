"""What the machine is: read once, when the agent starts.

A fact that cannot be read is empty: a node without `/etc/os-release` is a node all the same.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from piccolo import __version__
from piccolo.core.model import Facts, Resources
from piccolo.core.procfs import cores, meminfo_kb


def read_facts(data_dir: Path, root: Path = Path("/")) -> tuple[Facts, Resources]:
    """The facts and resources of the machine whose file system is at `root`.

    Cores are those online in the machine, even where the agent itself is confined to some;
    memory is in MiB; the disk is the one that holds `data_dir`, in GiB, rounded.
    The architecture is what `uname -m` says. `runtime_version` is left to who asks the runtime.
    """
    proc = root / "proc"
    facts = Facts(
        os=_os_name(_text(root / "etc/os-release") or _text(root / "usr/lib/os-release")),
        architecture=os.uname().machine,
        kernel=_text(proc / "sys/kernel/osrelease"),
        agent_version=__version__,
        machine_id=_machine_id(root / "etc/machine-id")
        or _machine_id(root / "var/lib/dbus/machine-id"),
        boot_id=_text(proc / "sys/kernel/random/boot_id"),
    )
    memory = meminfo_kb(_text(proc / "meminfo").encode(), b"MemTotal") or 0
    resources = Resources(
        cpu_cores=cores(_text(proc / "stat").encode()) or os.cpu_count() or 0,
        memory_mb=memory // 1024,
        disk_gb=_disk_gb(data_dir),
    )
    return facts, resources


def _machine_id(path: Path) -> str:
    """machine-id(5); an image that never booted has another word there, or nothing."""
    text = _text(path)
    return text if re.fullmatch(r"[0-9a-f]{32}", text) else ""


def _os_name(os_release: str) -> str:
    """os-release(5)."""
    values = {}
    for line in os_release.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            values[key] = _unquoted(value.strip())
    named = f"{values.get('NAME', '')} {values.get('VERSION_ID', '')}".strip()
    return values.get("PRETTY_NAME") or named


def _unquoted(value: str) -> str:
    """As a shell reads an assignment of one word."""
    quote = value[:1]
    if quote in ("'", '"') and len(value) > 1 and value.endswith(quote):
        value = value[1:-1]
    return value if quote == "'" else re.sub(r"\\(.)", r"\1", value)


def _disk_gb(directory: Path) -> int:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0
    return round(disk.f_blocks * disk.f_frsize / 2**30)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
