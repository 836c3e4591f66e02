"""What people ask of the cluster, at random: and what they were promised."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Sequence
from typing import Any

from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.workloads.workload import Workload
from piccolo.master.cluster import Cluster
from piccolo.master.workloads.workload_manager import Outcome
from tests.simulation.master import Master
from tests.simulation.wishes import SECRETS, ZONES, Wishes, short


class People:
    def __init__(self, rng: random.Random, names: int, nodes: list[str]) -> None:
        self.promised: dict[str, Workload | None] = {}  # None: it was deleted
        self._rng = rng
        self._nodes = nodes
        self._wishes = Wishes(rng, names, nodes)

    async def ask(self, master: Master) -> str:
        """Something; what, and what came of it."""
        rng, c = self._rng, master.cluster
        name = rng.choice(self._wishes.names)
        what = self._wishes.verb()
        known = c.state.workload(name)
        if known is None and what not in ("secret", "label"):
            what = "apply"
        try:
            if what == "secret":
                return await self._secret(master)
            if what == "label":
                return await self._label(c)
            if what == "apply":
                fresh = [self._wishes.workload(n) for n in self._wishes.some(name)]
                return await self._carry_out(what, c.workloads.apply(fresh, (), "user:x"), fresh)
            if what == "delete":
                cascade = rng.random() < 0.7
                work = c.workloads.delete([name], "user:x", cascade=cascade)
                return await self._carry_out(f"delete {name}", work, list(self.promised))
            if what == "restart":
                await c.workloads.restart([name], "user:x")
                return f"restart {name}"
            if what == "rollback":
                work = c.workloads.roll_back(name, "user:x")
                return await self._carry_out(f"rollback {name}", work, [name])
            assert known is not None
            changed = self._wishes.changed(known.workload, what)
            work = c.workloads.apply([changed], (), "user:x")
            return await self._carry_out(what, work, [changed])
        except PiccoloError as error:
            return f"{what} {name}: {error}"

    async def _carry_out(
        self,
        what: str,
        work: Coroutine[Any, Any, Outcome],
        about: Sequence[Workload | str],
    ) -> str:
        """While it is not known whether it was done, nothing is promised."""
        names = [one if isinstance(one, str) else one.name for one in about]
        before = {n: self.promised.pop(n) for n in names if n in self.promised}
        try:
            outcome = await work
        except Unavailable:
            raise
        except PiccoloError:
            self.promised |= before
            raise
        self.promised |= before
        for change in outcome.changes:
            there = outcome.declared[change.name]
            self.promised[change.name] = there.workload if not there.deleting_since else None
        told = [f"{o.name} {o.what}" for o in outcome.changes]
        texts = [short(one) for one in about if isinstance(one, Workload)]
        return f"{what}: {', '.join(told)}; {' | '.join(texts)}"

    async def _secret(self, master: Master) -> str:
        name, value = self._rng.choice(SECRETS), self._rng.randbytes(2).hex().encode()
        if self._rng.random() < 0.15:
            await master.secrets.delete(name)
            return f"delete the secret {name}"
        await master.secrets.put(name, {"key": value}, replace=True)
        return f"change the secret {name}"

    async def _label(self, c: Cluster) -> str:
        node, zone = self._rng.choice(self._nodes), self._rng.choice(ZONES)
        await c.nodes.label(node, {"zone": zone}, (), True)
        return f"label {node} zone={zone}"
