"""The master's process: opens the store, puts the components together, serves until stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from piccolo import __version__
from piccolo.config.master import restart_needed
from piccolo.config.settings import MasterSettings
from piccolo.core.address import GRPC_PORT, parse_address
from piccolo.core.errors import InvalidSpec, PiccoloError
from piccolo.core.model import Severity
from piccolo.master import keys
from piccolo.master.api_server.agent_service import AgentService
from piccolo.master.api_server.client_service import ClientService
from piccolo.master.clock import Clock
from piccolo.master.cluster import Cluster
from piccolo.master.event_log import EventLog
from piccolo.master.monitoring_server import MonitoringServer
from piccolo.master.node_manager import NodeManager
from piccolo.master.pulse_server import PulseServer
from piccolo.master.reports import Reports
from piccolo.master.sessions import Sessions
from piccolo.master.state_manager import StateManager
from piccolo.roles import logs, loop
from piccolo.rpc.server import GrpcServer
from piccolo.store.base import Store
from piccolo.store.mirror import MirroredStore

log = logging.getLogger(__name__)

METRICS_INTERVAL = 5.0  # s, the least between two samples of usage, unless an agent wants more

Load = Callable[[], tuple[MasterSettings, list[str]]]


def main(load: Load) -> None:
    """Read the settings with `load`, run, and read them again on SIGHUP."""
    settings, notices = load()
    logs.configure(settings.log_level, settings.log_format)
    for notice in notices:
        log.info("%s", notice)
    try:
        loop.run(run(settings, load))
    except* PiccoloError as group:
        raise group.exceptions[0] from None


async def _open_store(settings: MasterSettings) -> tuple[Store, str]:
    """The store, and what it is, for people. Only here are engines named."""
    if settings.store == "sqlite":
        from piccolo.store.sqlite import open_sqlite

        return await open_sqlite(Path(settings.data_dir)), f"sqlite in {settings.data_dir}"
    from piccolo.store.etcd import EtcdUrl, open_etcd

    url = EtcdUrl.parse(settings.store)
    return await open_etcd(url), str(url)  # which shows no password


async def _load_state(state: StateManager) -> keys.MasterRecord:
    """Take in the state and begin a new epoch. Raises `InvalidSpec` for a newer store."""
    await state.load()
    record = state.get(keys.MASTER, keys.MasterRecord)
    if record is None:
        record = keys.MasterRecord(keys.FORMAT, uuid.uuid4().hex, 0)
    if record.format > keys.FORMAT:
        raise InvalidSpec(
            f"the store was written by a newer PICCOLO (format {record.format}, this one knows"
            f" {keys.FORMAT}); run that version, or start with an empty --data-dir"
        )
    record = keys.MasterRecord(keys.FORMAT, record.cluster_id, record.epoch + 1)
    await state.commit({keys.MASTER: record})
    return record


async def run(settings: MasterSettings, load: Load) -> None:
    """Until SIGTERM or SIGINT."""
    stop = loop.stop_signal()
    async with serving(settings) as cluster, asyncio.TaskGroup() as tasks:
        reload = tasks.create_task(_reload_on_hup(cluster, settings, load), name="reload")
        await stop.wait()
        log.info("stopping")
        reload.cancel()


@asynccontextmanager
async def serving(settings: MasterSettings) -> AsyncIterator[Cluster]:
    """A master that serves until the end of the block. Raises `PiccoloError` when it cannot."""
    backing, store_name = await _open_store(settings)
    degraded = _Announcer()
    try:
        mirror = await MirroredStore.load(backing, on_degraded=degraded)
    except BaseException:
        await backing.close()
        raise
    try:
        cluster = await _assemble(settings, mirror, store_name)
        degraded.events = cluster.events
        server = GrpcServer([ClientService(cluster), AgentService(cluster)])
        listen = parse_address(settings.listen, GRPC_PORT, lowest_port=0)
        try:
            cluster.pulse_port = await server.start(listen.host, listen.port)
            await cluster.pulses.start(listen.host, cluster.pulse_port)
            cluster.addresses = (_reachable(listen.host, cluster.pulse_port),)
            _greet(cluster)
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(mirror.run(), name="store"),
                    tasks.create_task(cluster.state.run(), name="state"),
                    tasks.create_task(cluster.monitoring.run(), name="monitoring"),
                ]
                try:
                    yield cluster
                finally:
                    cluster.stop()
                    for task in background:
                        task.cancel()
            await asyncio.sleep(0.1)  # for the goodbyes to leave
            cluster.monitoring.keep_heartbeats()
        finally:
            cluster.pulses.close()
            await server.close()
    finally:
        await mirror.close()


async def _assemble(settings: MasterSettings, mirror: MirroredStore, store_name: str) -> Cluster:
    clock = Clock()
    state = StateManager(mirror)
    record = await _load_state(state)
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
    sessions = Sessions(record.epoch)
    return Cluster(
        id=record.cluster_id,
        name=settings.cluster_name,
        store=store_name,
        metrics_interval=METRICS_INTERVAL,
        clock=clock,
        state=state,
        events=events,
        nodes=nodes,
        monitoring=monitoring,
        sessions=sessions,
        reports=Reports(state),
        pulses=PulseServer(sessions, monitoring),
        started_at=clock.utc(),
    )


class _Announcer:
    """An event whenever the store goes away or comes back."""

    events: EventLog | None = None

    def __call__(self, reason: str | None) -> None:
        if self.events is None:
            return
        if reason is not None:
            self.events.add(Severity.ERROR, "master", "store", "StoreUnavailable", reason)
        else:
            self.events.add(Severity.INFO, "master", "store", "StoreRecovered", "all is stored")


def _reachable(host: str, port: int) -> str:
    """An address for others to use: the one listened on, or this machine's name for "all"."""
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


def _greet(cluster: Cluster) -> None:
    known = len(cluster.state.nodes())
    log.info(
        "PICCOLO master %s: cluster %s, %d nodes known, store %s, listening on %s (tcp, udp)",
        __version__,
        cluster.name,
        known,
        cluster.store,
        cluster.addresses[0],
    )
    if known == 0:
        address = cluster.addresses[0]
        log.info("to add a node, run on its machine: piccolo agent --master %s", address)


async def _reload_on_hup(cluster: Cluster, running: MasterSettings, load: Load) -> None:
    """SIGHUP: take over what can be changed, and say what needs a restart."""
    hup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hup.set)
    while True:
        await hup.wait()
        hup.clear()
        try:
            fresh, _ = await asyncio.to_thread(load)
        except PiccoloError as error:
            log.error("the configuration was not reread, the old one holds: %s", error)
            continue
        try:
            await cluster.nodes.configure(fresh.discovery, fresh.nodes)
        except PiccoloError as error:
            log.error("node.yaml could not be taken over in full; send SIGHUP again: %s", error)
        cluster.name = fresh.cluster_name
        cluster.events.retention = fresh.retention
        cluster.monitoring.configure(
            fresh.thresholds,
            fresh.heartbeat_interval,
            fresh.heartbeat_misses,
            fresh.reconnect_grace,
        )
        logs.configure(fresh.log_level, fresh.log_format)
        cluster.push_config()
        waiting = restart_needed(running, fresh)
        log.info("the configuration was reread")
        if waiting:
            log.warning("restart the master for what changed in: %s", ", ".join(waiting))
