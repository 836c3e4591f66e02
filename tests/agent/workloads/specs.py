"""Workloads for tests, and changes of what is to run as masters send them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import xor
from typing import Any

from piccolo.agent.workloads.desired import Change, Spec
from piccolo.core import plain
from piccolo.core.workloads.containers import Container
from piccolo.core.workloads.instances import Instance, pod_hash, sync_digest
from piccolo.core.workloads.workload import Dependency, DependencyCondition, Workload


def workload(name: str, **fields: Any) -> Workload:
    return Workload(name, (Container("main", "localhost/fake:1"),), **fields)


def needs(*names: str) -> tuple[Dependency, ...]:
    return tuple(Dependency(name, DependencyCondition.RUNNING) for name in names)


def instance(
    of: Workload | str,
    index: int = 0,
    generation: int = 1,
    env: str = "",
    secrets: Mapping[str, str] | None = None,
) -> Instance:
    """`env`: something that makes the containers others."""
    of = workload(of) if isinstance(of, str) else of
    if env:
        of = replace(of, containers=tuple(replace(c, env={"E": env}) for c in of.containers))
    return Instance(of, index, generation, pod_hash(of, secrets or {}, 0))


def spec(of: Instance | str, **secrets: str) -> Spec:
    of = instance(of) if isinstance(of, str) else of
    return Spec(of.key, plain.encode(of), secrets)


def digest(*specs: Spec) -> int:
    return reduce(xor, (sync_digest(s.key, s.spec, s.secrets) for s in specs), 0)


def everything(*specs: Spec) -> Change:
    return Change(specs, reset=True, digest=digest(*specs))
