"""The file that the original installer wrote (LLD 3.2.2): each key does something, or says that it
does nothing."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from piccolo.agent.heartbeats import Heartbeats
from piccolo.agent.master_link import Membership
from piccolo.config.agent import resolve_agent_settings
from piccolo.config.settings import AgentSettings
from piccolo.core.address import Address
from piccolo.core.model import NodeRole, NodeType, Usage
from piccolo.core.nodes.liveness import PROFILES
from piccolo.core.nodes.pulse import Pacer
from piccolo.core.report import Report
from piccolo.roles import agent as role
from piccolo.rpc import wire
from piccolo.security.request import prepare
from tests.master.virtual_time import virtual_time

# As the lines of the original's script, between its `cat > … << EOF` and `EOF`.
SCRIPT = """\
nodeagent:
  node_type: "${NODE_TYPE}"
  master_ip: "${MASTER_IP}"
  grpc_port: ${GRPC_PORT}
  log_level: "info"
  metrics:
    collection_interval: 5
    batch_size: 50
  etcd:
    endpoint: "${MASTER_IP}:2379"
  system:
    hostname: "$(hostname)"
    platform: "$(uname -s)"
    architecture: "$(uname -m)"
"""
UNIT = {"RUST_LOG": "info", "MASTER_NODE_IP": "10.0.0.1", "GRPC_PORT": "50061"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By a shell on this machine, as the script did it."""
    file = tmp_path_factory.mktemp("etc") / "nodeagent.yaml"
    script = f"NODE_TYPE=master MASTER_IP=10.0.0.1 GRPC_PORT=50061\ncat << EOF\n{SCRIPT}EOF\n"
    shell = script.replace("$(hostname)", "$(echo Edge_7.factory.example)")
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    file.write_text(done.stdout)
    return file


def settled(
    file: Path, environ: Mapping[str, str] = MappingProxyType({}), /, **changes: Any
) -> tuple[AgentSettings, list[str]]:
    """With changes in the file: key → what it is to be."""
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines):
        key = line.partition(":")[0]
        if key.strip() in changes:
            lines[number] = f"{key}: {changes[key.strip()]}"
    changed = file.with_name("changed.yaml")
    changed.write_text("\n".join(lines))
    return resolve_agent_settings(changed, environ, {}, hostname="other", root=True)


def test_it_is_read_and_says_what_has_no_effect(written: Path) -> None:
    settings, notices = settled(written, UNIT)
    assert settings == AgentSettings(
        ("10.0.0.1:50061",), "edge-7", "/var/lib/piccolo", NodeRole.MASTER
    )
    assert [" ".join(notice.split()[1:5]) for notice in notices[:5]] == [
        "nodeagent.etcd.endpoint has no effect:",
        "nodeagent.metrics.batch_size has no effect:",
        "nodeagent.system.platform has no effect:",
        "nodeagent.system.architecture has no effect:",
        "variable RUST_LOG has no",
    ]
    assert notices[5] == 'this node is named "edge-7", after the host name "Edge_7.factory.example"'
    assert len(notices) == 6


@pytest.mark.parametrize(
    ("key", "value", "field", "effect"),
    [
        ("node_type", "sub", "role", NodeRole.SUB),
        ("master_ip", "10.0.0.9", "masters", ("10.0.0.9:50061",)),
        ("grpc_port", "50099", "masters", ("10.0.0.1:50099",)),
        ("log_level", "debug", "log_level", "debug"),
        ("collection_interval", "60", "collection_interval", 60.0),
        ("hostname", "press-1", "name", "press-1"),
    ],
)
def test_each_other_key_changes_the_settings(
    written: Path, key: str, value: str, field: str, effect: object
) -> None:
    before, _ = settled(written)
    after, _ = settled(written, **{key: value})
    assert getattr(before, field) != getattr(after, field) == effect


class Link:
    """In the place of what talks to the master: ends at once."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.on_link = lambda master, trouble: None

    async def run(self) -> None: ...


async def test_the_process_goes_by_these_settings(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory that others may look into, and that the master keeps its own in (R4)."""
    data = tmp_path / "var"
    data.mkdir(mode=0o755)
    (data / "master").mkdir(mode=0o700)
    (data / "master" / "piccolo.db").write_bytes(b"the master's")
    settings, _ = settled(written, UNIT, collection_interval="60")
    settings = replace(settings, data_dir=str(data), podman_socket="/nowhere.sock")
    links: list[Link] = []

    def link(*parts: Any) -> Link:
        links.append(Link(*parts))
        return links[-1]

    monkeypatch.setattr(role, "MasterLink", link)
    prepare(data)
    for _ in range(2):
        await role.run(settings)
    masters, membership, _, machine, *_ = links[0].parts
    assert masters == [Address("10.0.0.1", 50061)]
    assert membership == Membership("edge-7", NodeRole.MASTER, NodeType.EMBEDDED, "wired", {})
    assert machine.metrics_interval == 60
    assert stat.S_IMODE((data / "pki").stat().st_mode) == 0o700
    assert stat.S_IMODE(data.stat().st_mode) == 0o755
    assert [path.name for path in (data / "master").iterdir()] == ["piccolo.db"]


@virtual_time
async def test_so_long_between_two_samples_of_usage(written: Path) -> None:
    """Which go with the heartbeats, each 10 s."""
    for interval, least, most in (("5", 12, 13), ("30", 4, 5), ("60", 2, 3), ("2m", 1, 2)):
        settings, _ = settled(written, collection_interval=interval)
        assert least <= await samples_in(119, settings.collection_interval) <= most


async def samples_in(seconds: float, interval: float) -> int:
    beats: list[wire.Beat] = []

    def queue(*, heartbeat: wire.Beat) -> int:
        beats.append(heartbeat)
        assert len(beats) < 100
        heartbeats.on_ack(wire.HeartbeatAck(seq=len(beats)))
        return len(beats)

    reporter: Any = SimpleNamespace(report=Report(), known=True, usage=no_usage)
    workloads: Any = SimpleNamespace(digest=b"")
    heartbeats = Heartbeats(Usage, interval, reporter, workloads, queue)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await heartbeats.run(Pacer(PROFILES["wired"], 0.0))
    assert len(beats) == 12
    return sum(beat.usage is not None for beat in beats)


async def no_usage() -> list[Any]:
    return []
