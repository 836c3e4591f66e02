"""Of every value: which place wins, and that this is said."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from piccolo.config.agent import AgentFile, resolve_agent, resolve_agent_settings
from piccolo.config.master import resolve_master
from piccolo.config.master_file import MasterFile
from piccolo.config.origins import Resolved, Value
from piccolo.core.errors import InvalidSpec
from tests.config.test_agent import EVERYTHING as AGENT
from tests.config.test_agent import LEGACY, OTHER_TOKEN, TOKEN
from tests.config.test_docs import keys
from tests.config.test_master import EVERYTHING as MASTER

# Read, and not of the settings: what replaces it is.
ELSEWHERE = {"master_ip": "masters", "system.hostname": "name"}
WITHOUT_EFFECT = {"metrics.batch_size", "etcd.endpoint", "system.platform", "system.architecture"}


def master(
    tmp_path: Path, text: str, environ: dict[str, str] | None = None, /, **flags: Any
) -> Any:
    file = tmp_path / "node.yaml"
    file.write_text(text)
    return resolve_master(file, environ or {}, flags, root=True)


def agent(tmp_path: Path, text: str, environ: dict[str, str] | None = None, /, **flags: Any) -> Any:
    file = tmp_path / "nodeagent.yaml"
    file.write_text(text)
    return resolve_agent(file, environ or {}, flags, hostname="h", root=True)


def by_key(resolved: Resolved[Any]) -> dict[str, Value]:
    found = {value.key.removeprefix("nodeagent."): value for value in resolved.values}
    assert len(found) == len(resolved.values)
    return found


def origins(resolved: Resolved[Any], tmp_path: Path) -> dict[str, str]:
    """Key → origin, of what is not at its default."""
    found = {key: str(value.origin) for key, value in by_key(resolved).items()}
    return {k: v.removeprefix(f"{tmp_path}/") for k, v in found.items() if v != "default"}


def test_every_key_of_the_master_has_a_value(tmp_path: Path) -> None:
    found = set(by_key(master(tmp_path, "{}")))
    assert found == {key for key in keys(MasterFile) if not key.startswith("nodes[]")}


def test_every_key_of_the_agent_has_a_value(tmp_path: Path) -> None:
    found = set(by_key(agent(tmp_path, "{}")))
    wanted = {key.removeprefix("nodeagent.") for key in keys(AgentFile)}
    assert found == wanted - set(ELSEWHERE) - WITHOUT_EFFECT


def test_every_value_of_a_full_file_is_from_its_line(tmp_path: Path) -> None:
    for resolved, text in (
        (master(tmp_path, MASTER), MASTER),
        (agent(tmp_path, AGENT), AGENT),
    ):
        lines = text.splitlines()
        found = origins(resolved, tmp_path)
        left_out = set(by_key(resolved)) - set(found)
        assert left_out <= {"encrypt", "token_file"}, "the files of the tests are to be full"
        for key, origin in found.items():
            line = lines[int(origin.rpartition(":")[2]) - 1]
            name = "- name" if key.startswith("nodes[") else re.findall(r"[a-z_]+", key)[-1]
            assert f"{name}:" in line, f"{key} is not in line {origin}"


def test_the_file_of_an_existing_site_with_its_units_environment(tmp_path: Path) -> None:
    environ = {"MASTER_NODE_IP": "10.0.0.2", "GRPC_PORT": "50061", "RUST_LOG": "info"}
    resolved = agent(tmp_path, LEGACY, environ)
    assert origins(resolved, tmp_path) == {
        "masters": "$MASTER_NODE_IP",
        "grpc_port": "$GRPC_PORT",
        "node_type": "nodeagent.yaml:2",
        "log_level": "nodeagent.yaml:5",
        "metrics.collection_interval": "nodeagent.yaml:7",
        "name": "nodeagent.yaml:12",
    }
    assert resolved.settings.masters == ("10.0.0.2:50061",)
    said = "\n".join(resolved.notices)
    for without in (*WITHOUT_EFFECT, "RUST_LOG"):
        assert f"{without} has no effect: " in said
    values = by_key(agent(tmp_path, LEGACY))
    assert str(values["masters"].origin).endswith("nodeagent.yaml:3")


def test_the_agents_places_in_their_order(tmp_path: Path) -> None:
    flags: dict[str, Any] = {
        "masters": ["10.0.0.3"], "grpc_port": 1, "role": "master", "labels": {"zone": "back"},
        "log_level": "error", "name": "n", "collection_interval": "20s", "data_dir": "/d",
    }  # fmt: skip
    environ = {"MASTER_NODE_IP": "10.0.0.2", "GRPC_PORT": "50061"}
    found = origins(agent(tmp_path, AGENT, environ, **flags), tmp_path)
    assert found == {
        "masters": "--master",
        "grpc_port": "--grpc-port",
        "node_type": "--role",
        "labels.zone": "--label",
        "labels.rack": "nodeagent.yaml:8",
        "log_level": "--log-level",
        "name": "--name",
        "metrics.collection_interval": "--collection-interval",
        "data_dir": "--data-dir",
        "type": "nodeagent.yaml:4",
        "link": "nodeagent.yaml:7",
        "podman_socket": "nodeagent.yaml:10",
        "ca_pin": "nodeagent.yaml:11",
        "log_format": "nodeagent.yaml:13",
    }


def test_the_masters_places_in_their_order(tmp_path: Path) -> None:
    text = "listen: 10.0.0.1\nlog_level: error\nsecurity: {san: [a]}\n"
    environ = {"GRPC_PORT": "50061"}
    assert origins(master(tmp_path, text), tmp_path) == {
        "listen": "node.yaml:1",
        "log_level": "node.yaml:2",
        "security.san[0]": "node.yaml:3",
    }
    flags = {"log_level": "info", "san": ["a", "b"], "store": "sqlite", "data_dir": "/d"}
    found = master(tmp_path, text, environ, **flags, cluster_name="c", discovery="any")
    assert origins(found, tmp_path) == {
        "cluster.name": "--cluster-name",
        "discovery": "--discovery",
        "listen": "$GRPC_PORT",
        "data_dir": "--data-dir",
        "store": "--store",
        "log_level": "--log-level",
        "security.san[0]": "node.yaml:3",
        "security.san[1]": "--san",
    }
    with_port = master(tmp_path, "listen: 10.0.0.1:7\n", environ)
    assert origins(with_port, tmp_path) == {"listen": "node.yaml:1"}


def test_a_key_without_a_value_is_at_its_default(tmp_path: Path) -> None:
    text = "heartbeat: {interval: 20}\nretention:\n  events_max: 7\n  events_max_age: ~\nlisten:\n"
    assert origins(master(tmp_path, text), tmp_path) == {
        "heartbeat.interval": "node.yaml:1",
        "retention.events_max": "node.yaml:3",
    }


def test_what_an_alias_repeats_is_where_the_alias_is(tmp_path: Path) -> None:
    text = "nodeagent:\n  system: {hostname: &n x}\n  name: *n\n  labels:\n    a: *n\n"
    assert origins(agent(tmp_path, text), tmp_path) == {
        "name": "nodeagent.yaml:3",
        "labels.a": "nodeagent.yaml:5",
    }


def test_labels_with_unusual_keys(tmp_path: Path) -> None:
    text = "nodeagent: {labels: {example.com/rack: '12'}}\n"
    assert origins(agent(tmp_path, text), tmp_path) == {
        'labels["example.com/rack"]': "nodeagent.yaml:1"
    }


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("sqlite", "sqlite"),
        ("etcd://10.0.0.9", "etcd://10.0.0.9"),
        ("etcd://u:s3cret@h", "etcd://u:(not shown)@h"),
        ("etcd://u:s3:c@ret@h:1,i?ca=/x", "etcd://u:(not shown)@h:1,i?ca=/x"),
        ("etcd://s3cret@h", "etcd://(not shown)@h"),
    ],
)
def test_the_password_of_the_store_is_not_shown(tmp_path: Path, store: str, shown: str) -> None:
    resolved = master(tmp_path, f"store: '{store}'\n")
    assert resolved.settings.store == store
    assert by_key(resolved)["store"].value == shown
    assert "s3" not in repr(resolved.values)


def test_a_token_is_not_shown_and_its_file_not_read(tmp_path: Path) -> None:
    for given, environ, origin in (
        ({"token": TOKEN}, {}, "--token"),
        ({}, {"PICCOLO_TOKEN": TOKEN}, "$PICCOLO_TOKEN"),
        ({"token": TOKEN}, {"PICCOLO_TOKEN": OTHER_TOKEN}, "--token"),
    ):
        resolved = agent(tmp_path, "{}", environ, **given)
        assert str(by_key(resolved)["token"].origin) == origin
        assert TOKEN[12:30] not in repr(resolved)
    found = agent(tmp_path, "nodeagent: {token_file: /nowhere/token}\n")
    assert "token" not in by_key(found)
    assert by_key(found)["token_file"].value == "/nowhere/token"


def test_without_a_master_the_agent_does_not_start_but_shows(tmp_path: Path) -> None:
    resolved = agent(tmp_path, "{}")
    assert resolved.settings.masters == ()
    assert resolved.notices[-1].startswith("no master is named")
    with pytest.raises(InvalidSpec, match="no master is named"):
        resolve_agent_settings(tmp_path / "nodeagent.yaml", {}, {}, hostname="h", root=True)


def test_noting_origins_costs_nothing_noticeable(tmp_path: Path) -> None:
    many = "".join(f"- {{name: n{i}, type: cloud}}\n" for i in range(10))
    master(tmp_path, f"nodes:\n{many}")
    began = time.process_time()
    for _ in range(10):
        resolve_master(None, {}, {}, root=True)
    assert time.process_time() - began < 0.1  # 0.2 ms each where this was written
