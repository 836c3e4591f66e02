"""Limits for one program: a control group where this machine permits one.

Both layouts are known: one hierarchy per controller (v1, hybrid) and the unified one (v2, which
has to have the controllers enabled at the top, as systemd does). cgroups(7).
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.site import Site

ROOT = Path("/sys/fs/cgroup")
# A process that was killed is still in its group for a moment.
_REMOVE = 'until rmdir "$0" 2>/dev/null || [ ! -d "$0" ]; do sleep 0.05; done'
PERIOD_US = 100_000


class Cgroup:
    """A group with the limits given. Raises `LabError` where that is not permitted."""

    def __init__(
        self, site: Site, name: str, cpus: float | None = None, memory_mb: int | None = None
    ) -> None:
        unified = (ROOT / "cgroup.controllers").exists()
        settings = []  # (controller, file, value)
        if cpus is not None:
            quota = round(cpus * PERIOD_US)
            settings.append(
                ("cpu", "cpu.max", f"{quota} {PERIOD_US}")
                if unified
                else ("cpu", "cpu.cfs_quota_us", str(quota))
            )
        if memory_mb is not None:
            file = "memory.max" if unified else "memory.limit_in_bytes"
            settings.append(("memory", file, str(memory_mb * 1024 * 1024)))
        self._groups: set[Path] = set()
        for controller, file, value in settings:
            group = (ROOT if unified else ROOT / controller) / f"pic-{site.id}-{name}"
            if group not in self._groups:
                site.undo("/bin/sh", "-c", _REMOVE, str(group))
                self._groups.add(group)
            try:
                group.mkdir(exist_ok=True)
                (group / file).write_text(value)
            except OSError as error:
                raise LabError(f"no {controller} limit here: {group / file}: {error}") from error

    def prefix(self) -> list[str]:
        """What to put before a command so that it joins the group before it begins."""
        join = "".join(f'echo $$ > "{group}/cgroup.procs" && ' for group in sorted(self._groups))
        return ["/bin/sh", "-c", f'{join}exec "$@"', "sh"]
