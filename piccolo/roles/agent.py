"""The agent's process: what a sub node runs, and nothing that it does not need.

`piccolo agent` reads files and flags with pydantic, YAML and typer, and then *becomes* this
program by exec, with the settings handed over in memory (see `handover`): those libraries cost
20 MB of an agent's 50 (HLD 8.1), and exec keeps the process id that a service manager knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import sys
from functools import partial
from pathlib import Path

from piccolo import __version__
from piccolo.agent.enrolment import Enrolment
from piccolo.agent.facts import read_facts
from piccolo.agent.identity import Identity
from piccolo.agent.master_link import MasterLink, Membership
from piccolo.agent.pki import Pki
from piccolo.agent.pulser import Pulser
from piccolo.agent.reporter import Reporter
from piccolo.agent.session import Machine
from piccolo.agent.usage import UsageSampler
from piccolo.agent.workloads.service import Workloads
from piccolo.config.settings import AgentSettings
from piccolo.core.address import GRPC_PORT, parse_address
from piccolo.core.errors import PiccoloError
from piccolo.roles import handover, logs, loop
from piccolo.roles.presence import Presence
from piccolo.roles.service_manager import ServiceManager
from piccolo.runtime.podman import Podman, find_socket

log = logging.getLogger(__name__)


async def run(settings: AgentSettings) -> None:
    """Until SIGTERM or SIGINT, or until the master takes this node out of the cluster."""
    stop = loop.stop_signal()
    manager = ServiceManager.take()
    identity = Identity.open(Path(settings.data_dir))
    socket = Path(settings.podman_socket) if settings.podman_socket else find_socket()
    runtime = Podman(socket) if socket is not None else None
    reporter = Reporter(runtime)
    pulser = Pulser()
    facts, resources = read_facts(identity.directory)
    pki = Pki(identity.directory / "pki")
    workloads = Workloads(runtime, reporter, identity.node_id, identity.directory)
    link = MasterLink(
        [parse_address(m, GRPC_PORT) for m in settings.masters],
        Membership(settings.name, settings.role, settings.type, settings.link, settings.labels),
        identity,
        Machine(
            node_id=identity.node_id,
            facts=facts,
            resources=resources,
            sample=UsageSampler(identity.directory).sample,
            metrics_interval=settings.collection_interval,
        ),
        reporter,
        pulser,
        pki,
        Enrolment(pki, settings.token, settings.ca_pin),
        workloads,
    )
    presence = Presence("agent", manager)
    link.on_link = partial(_tell, presence, settings)
    link.on_link("", "")
    log.info("PICCOLO agent %s: node %s, id %s", __version__, settings.name, identity.node_id)
    try:
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(reporter.run(), name="reporter"),
                tasks.create_task(pulser.run(), name="pulser"),
                tasks.create_task(workloads.run(), name="workloads"),
                tasks.create_task(manager.keep_alive(), name="watchdog"),
            ]
            await asyncio.sleep(0)  # they begin: what is on the disk is taken up
            # Not when the master answers: a device comes up without it.
            manager.ready()
            master = tasks.create_task(link.run(), name="master link")
            stopping = tasks.create_task(stop.wait(), name="stop signal")
            await asyncio.wait((master, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                log.info("stopping")
                manager.stopping()
                await link.say_goodbye()
            for task in (*background, master, stopping):
                task.cancel()
    finally:
        presence.close()
        pulser.close()
        if runtime is not None:
            await runtime.close()
        identity.close()


def _tell(presence: Presence, settings: AgentSettings, master: str, trouble: str) -> None:
    if master:
        presence.tell(True, f"connected to {master} as {settings.name}")
    else:
        looking = f"looking for the master at {', '.join(settings.masters)}"
        presence.tell(False, f"{looking}: {trouble}" if trouble else looking)


def _give_back_memory() -> None:
    """Return to the system what importing allocated and freed: 4 MB (malloc_trim(3), glibc)."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    """Runs with the settings in the file descriptor that the only argument names."""
    settings = handover.take(sys.argv[1])
    logs.configure(settings.log_level, settings.log_format)
    _give_back_memory()
    try:
        loop.run(run(settings))
    except* PiccoloError as group:
        for error in group.exceptions:
            print(logs.complaint(f"piccolo agent: {error}"), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
