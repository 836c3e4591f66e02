"""All faults of docs/lab.md, each with what is expected of it."""

from __future__ import annotations

from tests.reliability.scenarios import cables, clocks, disks, etcd, files, machines, programs

ALL = (
    *cables.SCENARIOS,
    *programs.SCENARIOS,
    *disks.SCENARIOS,
    *clocks.SCENARIOS,
    *files.SCENARIOS,
    *machines.SCENARIOS,
    *etcd.SCENARIOS,
)
