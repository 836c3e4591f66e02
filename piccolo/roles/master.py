"""The master's process: opens the store, puts the components together, serves until stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from piccolo import __version__
from piccolo.config.master import restart_needed
from piccolo.config.settings import MasterSettings
from piccolo.core.address import GRPC_PORT, Address, parse_address
from piccolo.core.errors import InvalidSpec, PiccoloError
from piccolo.core.model import Authorities, NodeState, Severity
from piccolo.core.security.audit import Head
from piccolo.master import keys
from piccolo.master.action_controller import ActionController
from piccolo.master.agent_events import AgentEvents
from piccolo.master.api_server.agent_service import AgentService
from piccolo.master.api_server.client_service import ClientService
from piccolo.master.clock import Clock
from piccolo.master.cluster import Cluster
from piccolo.master.event_log import EventLog
from piccolo.master.installing import Installing
from piccolo.master.monitoring_server import MonitoringServer
from piccolo.master.node_manager import NodeManager
from piccolo.master.pulse_server import PulseServer
from piccolo.master.reports import Reports
from piccolo.master.security.access_control import AccessControl
from piccolo.master.security.audit_trail import AuditTrail
from piccolo.master.security.certificates import Certificates, Lifetimes
from piccolo.master.security.tokens import Tokens
from piccolo.master.security.trust import Trust
from piccolo.master.sessions import Sessions
from piccolo.master.state_manager import StateManager
from piccolo.master.upkeep import Upkeep
from piccolo.master.workloads.desired_state import DesiredState
from piccolo.master.workloads.holdings import Holdings
from piccolo.master.workloads.instance_specs import InstanceSpecs
from piccolo.master.workloads.rebuild import PATIENCE, RestoredCluster
from piccolo.master.workloads.workload_manager import WorkloadManager
from piccolo.roles import logs, loop
from piccolo.roles.engines import name_of
from piccolo.roles.presence import Presence
from piccolo.roles.restore import open_whole
from piccolo.roles.service_manager import ServiceManager
from piccolo.rpc.hosts import host_name, reachable
from piccolo.rpc.server import GrpcServer
from piccolo.security.keyring import KeyRing
from piccolo.store.base import Store
from piccolo.store.mirror import MirroredStore
from piccolo.store.sealed import SealedStore

log = logging.getLogger(__name__)

_FIRST = "start of the master"  # who made the token that it prints
_LOOK_EVERY = 1.0  # s: how many nodes are Ready, for whoever asks on this machine
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
    """The store, encrypted as the settings want it, and what it is, for people."""
    engine = await open_whole(settings)
    try:
        ring = KeyRing.load(Path(settings.data_dir), os.environ)
        everything = settings.encrypt == "all"
        store = await SealedStore.open(engine, ring, everything=everything)
    except BaseException:
        await engine.close()
        raise
    name = name_of(settings)
    return store, f"{name}, encrypted" if everything else name


async def _load_state(state: StateManager, clock: Clock, rebuild: float) -> keys.MasterRecord:
    """Take in the state and begin a new epoch.

    Raises `InvalidSpec` for a newer store, and for one that is not to be rebuilt.
    """
    await state.load()
    record = state.get(keys.MASTER, keys.MasterRecord)
    if rebuild and record is not None and record.restored is not None:
        log.info(
            "--rebuild has no effect: it is for an empty data directory, and this state was made"
            " from %s already",
            record.restored.source,
        )
    if record is None:
        restored = keys.Restored(None, clock.utc()) if rebuild else None
        record = keys.MasterRecord(keys.FORMAT, uuid.uuid4().hex, 0, restored)
    if rebuild and record.restored is None:
        raise InvalidSpec(
            "--rebuild is for a master whose state is lost, but here is one: leave it out; or begin"
            " with an empty --data-dir"
        )
    if record.format > keys.FORMAT:
        raise InvalidSpec(
            f"the store was written by a newer PICCOLO (format {record.format}, this one knows"
            f" {keys.FORMAT}); run that version, or start with an empty --data-dir"
        )
    record = replace(record, format=keys.FORMAT, epoch=record.epoch + 1)
    await state.commit({keys.MASTER: record})
    return record


async def run(settings: MasterSettings, load: Load) -> None:
    """Until SIGTERM or SIGINT."""
    stop, hup = loop.stop_signal(), asyncio.Event()
    manager = ServiceManager.take()
    presence = Presence("master", manager)
    # Before it listens: whoever finds it there may send a signal that would end it otherwise.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hup.set)
    async with serving(settings) as cluster, asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(_reload_on_hup(cluster, settings, load, hup, manager), name="reload"),
            tasks.create_task(_tell_of_nodes(cluster.state, presence), name="presence"),
            tasks.create_task(manager.keep_alive(), name="watchdog"),
        ]
        manager.ready()
        await stop.wait()
        log.info("stopping")
        manager.stopping()
        presence.close()
        for task in background:
            task.cancel()


async def _tell_of_nodes(state: StateManager, presence: Presence) -> None:
    """For ever, what has changed."""
    while True:
        nodes = state.nodes()
        ready = sum(state.status(n.id).state is NodeState.READY for n in nodes)
        presence.tell(True, f"{ready} of {len(nodes)} nodes Ready")
        await asyncio.sleep(_LOOK_EVERY)


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
        trust = cluster.certificates.trust
        services = [ClientService(cluster), AgentService(cluster)]
        server = GrpcServer(services, cluster.access, trust.tls())
        listen = parse_address(settings.listen, GRPC_PORT, lowest_port=0)
        try:
            cluster.pulse_port = await server.start(listen.host, listen.port)
            cluster.installing.grpc_port = cluster.pulse_port
            await cluster.pulses.start(listen.host, cluster.pulse_port)
            cluster.addresses = tuple(
                str(Address(host, cluster.pulse_port)) for host in reachable(listen.host)
            )
            cluster.listens_everywhere = listen.host in ("0.0.0.0", "::")
            upkeep = Upkeep(cluster, Path(settings.data_dir) / "admin.yaml")

            def renewed(tls: ssl.SSLContext) -> None:
                server.tls = tls
                cluster.installing.renewed()

            upkeep.on_tls = renewed
            cluster.audit.record("master", "", "MasterStarted", __version__, allowed=True)
            await upkeep.once()
            _greet(cluster, settings)
            if not cluster.state.nodes():
                await _invite(cluster)
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(mirror.run(), name="store"),
                    tasks.create_task(cluster.state.run(), name="state"),
                    tasks.create_task(cluster.monitoring.run(), name="monitoring"),
                    tasks.create_task(cluster.access.run(), name="access control"),
                    tasks.create_task(cluster.actions.run(), name="actions"),
                    tasks.create_task(cluster.desired.run(), name="desired state"),
                    tasks.create_task(cluster.restored.run(), name="rebuild"),
                    tasks.create_task(cluster.agent_events.run(), name="events of agents"),
                    tasks.create_task(upkeep.run(), name="upkeep"),
                    tasks.create_task(cluster.audit.run(), name="audit trail"),
                    tasks.create_task(cluster.installing.begin(), name="bundles"),
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
            await cluster.installing.close()
            await server.close()
            await cluster.audit.close()
    finally:
        await mirror.close()


async def _assemble(settings: MasterSettings, mirror: MirroredStore, store_name: str) -> Cluster:
    clock = Clock()
    state = StateManager(mirror)
    record = await _load_state(state, clock, settings.rebuild)
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
    specs = InstanceSpecs(state)
    restored, holdings = RestoredCluster(state, events, specs, clock), Holdings()
    await restored.begin(settings.rebuild or PATIENCE)
    lifetimes = Lifetimes.of(settings.security)
    listen = parse_address(settings.listen, GRPC_PORT, lowest_port=0).host
    trust, _ = Trust.open(
        Path(settings.data_dir) / "pki",
        settings.cluster_name,
        [host_name(), "localhost", "127.0.0.1", *reachable(listen), *settings.security.san],
        lifetimes.certificate,
        clock.utc(),
        known=state.get(keys.AUTHORITIES, Authorities),
    )
    certificates = Certificates(trust, state, events, clock, record.cluster_id, lifetimes)
    await certificates.note_authorities()
    first = state.get(keys.AUDIT_HEAD, Head) is None  # on this store: a backup does not have it
    audit = AuditTrail.open(Path(settings.data_dir) / "audit", clock, state, events, settings.audit)
    if first and record.restored is not None:
        when = f"{record.restored.at:%Y-%m-%d %H:%M} UTC"
        text = f"at {when}, from {record.restored.source}"
        audit.record("master", "", "Restored", allowed=True, reason=text)
    access = AccessControl(record.cluster_id, certificates, audit, events, clock)
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
        certificates=certificates,
        tokens=Tokens(state, clock),
        audit=audit,
        access=access,
        workloads=WorkloadManager(state, clock),
        actions=ActionController(state, events, specs, clock, restored, holdings),
        desired=DesiredState(state, events, specs, clock, restored, holdings),
        restored=restored,
        agent_events=AgentEvents(state, events, clock),
        installing=Installing(settings.install, certificates, access),
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


def _greet(cluster: Cluster, settings: MasterSettings) -> None:
    log.info(
        "PICCOLO master %s: cluster %s, %d nodes known, store %s, listening on %s (tcp, udp)",
        __version__,
        cluster.name,
        len(cluster.state.nodes()),
        cluster.store,
        ", ".join(cluster.addresses),
    )
    log.info("clients on this machine: export PICCOLO_CONTEXT=%s/admin.yaml", settings.data_dir)
    if not cluster.state.nodes():
        log.info("to add a node: `piccolo token create` prints the command for its machine")


async def _invite(cluster: Cluster) -> None:
    """The first join token, with the command to use it. Never in a log."""
    if logs.is_journal(sys.stdout.fileno()):
        return  # `piccolo token create` makes one when it is wanted
    for old in cluster.tokens.all():
        if old.created_by == _FIRST and old.revoked_at is None:
            await cluster.tokens.revoke(old.id)
    pin = cluster.certificates.trust.current.fingerprint
    _, token = await cluster.tokens.create(pin, by=_FIRST)
    print("\nTo add the first node, run this on its machine, within a day:\n")
    print(f"    piccolo agent --master {cluster.addresses[0]} --token {token.text}\n", flush=True)


async def _reload_on_hup(
    cluster: Cluster,
    running: MasterSettings,
    load: Load,
    hup: asyncio.Event,
    manager: ServiceManager,
) -> None:
    """SIGHUP: take over what can be changed, and say what needs a restart."""
    while True:
        await hup.wait()
        hup.clear()
        manager.reloading()
        await _reload(cluster, running, load)
        manager.ready()


async def _reload(cluster: Cluster, running: MasterSettings, load: Load) -> None:
    try:
        fresh, _ = await asyncio.to_thread(load)
    except PiccoloError as error:
        log.error("the configuration was not reread, the old one holds: %s", error)
        return
    try:
        await cluster.nodes.configure(fresh.discovery, fresh.nodes)
    except PiccoloError as error:
        log.error("node.yaml could not be taken over in full; send SIGHUP again: %s", error)
    cluster.name = fresh.cluster_name
    cluster.events.retention = fresh.retention
    cluster.audit.configure(fresh.audit)
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
