"""Asking an agent what the instances are that it holds and the master does not know.

The answer is taken for what it is: from a node that belongs to the cluster, but from outside. It
must be what the agent's Hello announced, and something that a master could have declared.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from piccolo.config.names import check_name
from piccolo.core import plain
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from piccolo.core.workloads.adoption import Held
from piccolo.core.workloads.instances import Instance, sync_digest
from piccolo.master.sessions import Session
from piccolo.master.workloads.draft import MAX_SPEC_BYTES
from piccolo.master.workloads.instance_specs import references
from piccolo.rpc import wire

PATIENCE = 60.0  # s for an answer
_MOST = 1000  # keys in one question


class Inquiry:
    """Of one session. `held`: digests by key, as Hello says."""

    def __init__(self, session: Session, held: Mapping[str, int]) -> None:
        self.session = session
        self.held = held
        self.found: dict[str, Held] = {}  # what it has told
        self.trouble = ""  # why it cannot tell more; it is asked again on its next session
        self._asked_at: float | None = None

    def ask(self, unknown: Sequence[str], now: float) -> None:
        self._asked_at = now
        query = wire.HeldQuery(keys=list(unknown[:_MOST]))
        self.session.send(wire.MasterMessage(held_query=query))

    def patience(self, now: float) -> float | None:
        """For so many seconds more it is waited for an answer; None: nothing was asked."""
        return None if self._asked_at is None else self._asked_at + PATIENCE - now

    def answered(self, specs: wire.HeldSpecs) -> None:
        """Raises `Conflict` when the agent holds something else by now, `Unavailable` when it
        cannot tell, `InvalidSpec` for what cannot be read."""
        if self._asked_at is None:
            return
        if specs.error or not specs.instances:
            raise Unavailable(specs.error or "its agent gives an empty answer")
        for one in specs.instances:
            if sync_digest(one.key, one.spec, one.secrets) != self.held.get(one.key):
                raise Conflict(f"{one.key} is not what its agent announced")
            self.found[one.key] = _read(one)
        self._asked_at = None


def _read(told: wire.DesiredInstance) -> Held:
    """Raises `InvalidSpec` for what no master of this version would have declared."""
    instance = plain.decode(Instance, told.spec, f"what {told.key} is to be")
    check_name(instance.workload.name)
    if instance.key != told.key or instance.index < 0 or instance.generation < 1:
        raise InvalidSpec(f"what {told.key} is to be is {instance.key}")
    if len(told.spec) > 2 * MAX_SPEC_BYTES:
        raise InvalidSpec(f"what {told.key} is to be has {len(told.spec) >> 10} KiB")
    secrets: dict[str, str] = {}
    for reference in references(instance.workload):
        path = f"{check_name(reference.secret)}/{reference.key}"
        try:
            base64.b64decode(told.secrets[path], validate=True)
        except (KeyError, binascii.Error):
            raise InvalidSpec(f"{told.key} comes without a value of {path}") from None
        secrets[path] = told.secrets[path]
    return Held(instance, secrets)
