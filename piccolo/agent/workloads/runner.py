"""Drives one instance: executes what the state machine in `core.pod_machine` asks for.

(Being written: the public signatures stand.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from piccolo.core.instances import Instance, InstanceStatus, Secrets
from piccolo.core.model import Container, Severity
from piccolo.runtime.base import Runtime


class Surroundings(Protocol):
    """What a runner tells and asks of whoever made it."""

    def status(self, status: InstanceStatus) -> None:
        """News of the instance; called on a change only."""
        ...

    def happened(self, severity: Severity, subject: str, reason: str, message: str) -> None:
        """For the cluster's events."""
        ...

    def blocked(self, instance: Instance) -> str:
        """Why it must not start now; empty: it may."""
        ...


class PodRunner:
    """`directory` exists; `files/` and `record.json` in it are this runner's."""

    def __init__(
        self,
        runtime: Runtime,
        instance: Instance,
        secrets: Secrets,
        directory: Path,
        node_id: str,
        surroundings: Surroundings,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Drive it until cancelled, when its containers run on, or until it is retired."""
        raise NotImplementedError

    def update(self, instance: Instance, secrets: Secrets) -> None:
        """A new spec: the same hash is adopted, another one replaces the containers."""
        raise NotImplementedError

    def observed(self, containers: Sequence[Container]) -> None:
        """All containers of this instance, by label, as the runtime lists them now."""
        raise NotImplementedError

    def wake(self) -> None:
        """What `Surroundings.blocked` says may have changed."""
        raise NotImplementedError

    def hold(self, why: str | None) -> None:
        """Stop it gracefully and keep it so; None: it may run."""
        raise NotImplementedError

    def retire(self) -> None:
        """Stop and remove all of it; `run` then returns."""
        raise NotImplementedError
