"""The master of a simulation: the parts that workloads need, as `roles.master` puts them together,
on a store whose engine takes its time and survives them.

Killed, it loses what was observed and not written yet; a commit that was under way is there or not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from piccolo.config.settings import MasterSettings
from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.security.access import Principal, Role
from piccolo.master.action_controller import ActionController
from piccolo.master.agent_events import AgentEvents
from piccolo.master.api_server.agent_service import AgentService
from piccolo.master.clock import Clock
from piccolo.master.cluster import Cluster
from piccolo.master.event_log import EventLog
from piccolo.master.monitoring_server import MonitoringServer
from piccolo.master.node_manager import NodeManager
from piccolo.master.pulse_server import PulseServer
from piccolo.master.reports import Reports
from piccolo.master.security.secrets import Secrets
from piccolo.master.sessions import Sessions
from piccolo.master.state_manager import StateManager
from piccolo.master.workloads.desired_state import DesiredState
from piccolo.master.workloads.holdings import Holdings
from piccolo.master.workloads.instance_specs import InstanceSpecs
from piccolo.master.workloads.rebuild import RestoredCluster
from piccolo.master.workloads.workload_manager import WorkloadManager
from piccolo.rpc.isolated import isolated
from piccolo.store.base import Condition, Operation
from piccolo.store.mirror import MirroredStore
from tests.master.insiders import calling
from tests.master.memory_store import Disk, MemoryStore
from tests.simulation.clocks import utc
from tests.simulation.link import End


class Engine(MemoryStore):
    """Of one run of the master: it cannot be used any more once that was killed."""

    def __init__(self, disk: Disk, rng: random.Random) -> None:
        super().__init__(disk)
        self.rng = rng
        self.fatal = -1  # so many commits until the master is killed in the midst of one
        self.kill: Callable[[], None] = lambda: None

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        if self.rng.random() < 0.3:
            await asyncio.sleep(self.rng.random() * 0.1)
        self.fatal -= 1
        if self.fatal == 0 and self.rng.random() < 0.5:
            await self._die()
        revision = await super().commit(operations, conditions)
        if self.fatal == 0:
            await self._die()
        return revision

    async def _die(self) -> None:
        asyncio.get_running_loop().call_soon(self.kill)
        await asyncio.Event().wait()


class _Known:
    """Of certificates and access: every agent is who it says."""

    def is_outdated(self, *_: object) -> bool:
        return False

    def note(self, *_: object) -> None: ...


class Master:
    """`failed` is told of what must never happen: a part that ends by itself."""

    def __init__(self, rng: random.Random, failed: Callable[[str], None]) -> None:
        self.disk = Disk()
        self.engine: Engine | None = None
        self._rng = rng
        self._failed = failed
        self._epoch = 0
        self._cluster: Cluster | None = None
        self._service: AgentService | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order: sets of tasks have none
        self.hung_up: Callable[[str, End, PiccoloError | None], None]

    @property
    def runs(self) -> bool:
        return self._cluster is not None

    @property
    def cluster(self) -> Cluster:
        assert self._cluster is not None
        return self._cluster

    @property
    def secrets(self) -> Secrets:
        return Secrets(self.cluster.state, self.cluster.clock)

    async def start(self) -> None:
        self._epoch += 1
        self.disk.held = True
        engine = self.engine = Engine(self.disk, self._rng)
        mirror = await MirroredStore.load(engine)
        state = StateManager(mirror)
        await state.load()
        clock = Clock(asyncio.get_running_loop().time, utc)
        c = self._cluster = await _assemble(state, clock, self._epoch)
        self._service = AgentService(c)
        for part in (
            mirror.run(),
            state.run(),
            c.monitoring.run(),
            c.actions.run(),
            c.desired.run(),
            c.restored.run(),
            c.agent_events.run(),
        ):
            self.spawn(self._for_ever(part))

    async def _for_ever(self, part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        except Exception as error:
            self._failed(f"a part of the master ended: {error!r}")
        else:
            self._failed("a part of the master ended")

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """It ends with this run of the master."""
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    async def kill(self) -> None:
        """As by SIGKILL."""
        if self.engine is not None:
            self.engine.away = "it was killed"
            self.engine.late = None
        self._cluster = self._service = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- agents ----

    def accept(self, node_id: str, stream: End) -> bool:
        if self._service is None:
            return False
        self.spawn(self._serve(self._service, node_id, stream))
        return True

    async def _serve(self, service: AgentService, node_id: str, stream: End) -> None:
        error: PiccoloError | None = None
        try:
            with calling(Principal(Role.AGENT, node_id)):
                await isolated(service._session(cast(Any, stream)))
        except PiccoloError as failed:
            error = failed
        except asyncio.CancelledError:
            error = Unavailable("the connection was reset")
            raise
        except Exception as defect:
            self._failed(f"a session failed on the master: {defect!r}")
        finally:
            self.hung_up(node_id, stream, error)


async def _assemble(state: StateManager, clock: Clock, epoch: int) -> Cluster:
    settings = MasterSettings(data_dir="/none")
    events = EventLog(state, clock, settings.retention)
    nodes = NodeManager(state, events, clock)
    await nodes.configure(settings.discovery, settings.nodes)
    monitoring = MonitoringServer(
        state,
        nodes,
        clock,
        settings.thresholds,
        settings.heartbeat_interval,
        settings.heartbeat_misses,
        settings.reconnect_grace,
    )
    sessions, specs, known = Sessions(epoch), InstanceSpecs(state), cast(Any, _Known())
    restored, holdings = RestoredCluster(state, events, specs, clock), Holdings()
    return Cluster(
        id="cluster-1",
        name="piccolo",
        store="memory",
        metrics_interval=60.0,
        clock=clock,
        state=state,
        events=events,
        nodes=nodes,
        monitoring=monitoring,
        sessions=sessions,
        reports=Reports(state),
        pulses=PulseServer(sessions, monitoring),
        certificates=known,
        tokens=known,
        audit=known,
        access=known,
        workloads=WorkloadManager(state, clock),
        actions=ActionController(state, events, specs, clock, restored, holdings),
        desired=DesiredState(state, events, specs, clock, restored, holdings),
        restored=restored,
        agent_events=AgentEvents(state, events, clock),
        installing=known,
        started_at=clock.utc(),
    )
