"""`piccolo config`, from outside; there is no master."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from piccolo.cli import config
from piccolo.cli.options import Output
from piccolo.config.template import template
from piccolo.core.roles import Role
from tests.cli.scripted import piccolo
from tests.config.test_agent import LEGACY, TOKEN

NODE = "cluster:\n  name: factory\nstore: etcd://u:s3cret@10.0.0.9\nsecurity: {san: [a.example]}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node.yaml").write_text(NODE)
    (tmp_path / "legacy.yaml").write_text(LEGACY)
    (tmp_path / "bad.yaml").write_text("nodes: [{name: A, type: cloud}]\nlisten: 7\n")
    return tmp_path


@pytest.mark.slow
def test_check(home: Path) -> None:
    done = piccolo("config", "check", "node.yaml", home=home)
    assert (done.returncode, done.stdout) == (0, "✓ node.yaml, of the master: ok\n")
    done = piccolo("config", "check", "legacy.yaml", home=home)
    assert done.returncode == 0
    assert "    note: legacy.yaml:10:5: nodeagent.etcd.endpoint has no effect" in done.stdout
    done = piccolo("config", "check", "bad.yaml", home=home)
    assert done.returncode == 2
    first, name, listen = done.stdout.splitlines()
    assert first == "✗ bad.yaml, of the master: 2 problems"
    assert 'bad.yaml:1:10: nodes[0].name: "A" is not a name' in name
    assert "bad.yaml:2:1: listen: 7 must be text" in listen
    done = piccolo("config", "check", "node.yaml", "--role", "agent", "-o", "json", home=home)
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["role"]) == (2, False, "agent")
    assert found["problems"][0] == {
        "source": "node.yaml",
        "line": 1,
        "column": 1,
        "message": 'unknown key "cluster"; allowed here: nodeagent',
    }
    assert piccolo("config", "check", "none.yaml", home=home).returncode == 2


@pytest.mark.slow
def test_template(home: Path) -> None:
    for role in Role:
        done = piccolo("config", "template", role, home=home)
        assert (done.returncode, done.stdout) == (0, template(role))
        (home / "made.yaml").write_text(done.stdout)
        assert (
            piccolo("config", "check", "made.yaml", "-o", "name", home=home).stdout == f"{role}\n"
        )
    assert piccolo("config", "template", "nobody", home=home).returncode == 2


@pytest.mark.slow
def test_show(home: Path) -> None:
    flags = ("--san", "b.example", "--log-level", "debug")
    done = piccolo("config", "show", "master", "--config", "node.yaml", *flags, home=home,
                   GRPC_PORT="50061")  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["KEY"] == ["VALUE", "FROM"]
    assert rows["cluster.name"] == ["factory", "node.yaml:2"]
    assert rows["listen"] == ["0.0.0.0:50061", "$GRPC_PORT"]
    assert rows["heartbeat.interval"] == ["10", "s", "default"]
    assert rows["security.san[1]"] == ["b.example", "--san"]
    assert rows["log_level"] == ["debug", "--log-level"]
    assert rows["audit.reads"] == ["false", "default"]
    assert "s3cret" not in done.stdout + done.stderr
    done = piccolo("config", "show", "--config", "legacy.yaml", "-o", "json", home=home,
                   PICCOLO_TOKEN=TOKEN, MASTER_NODE_IP="10.0.0.2")  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["role"], found["file"]) == ("agent", "legacy.yaml")
    values = {value.pop("key"): value for value in found["values"]}
    assert values["nodeagent.masters"] == {
        "value": ["10.0.0.2:50051"], "source": "environment", "name": "MASTER_NODE_IP", "line": 0
    }  # fmt: skip
    assert values["nodeagent.metrics.collection_interval"] == {
        "value": 5.0, "source": "file", "name": "legacy.yaml", "line": 7
    }  # fmt: skip
    assert values["nodeagent.token"]["value"] == "(not shown)"
    assert any("etcd.endpoint has no effect" in notice for notice in found["notices"])
    assert TOKEN[12:30] not in done.stdout + done.stderr


@pytest.mark.slow
def test_what_cannot_be_shown(home: Path) -> None:
    for words, said in (
        ((), "whose configuration? Say piccolo config show master"),
        (("--config", "node.yaml", "master"), "--config goes behind the role: piccolo config show"),
        (("master", "--config", "bad.yaml"), "bad.yaml:2:1: listen: 7 must be text"),
        (("agent", "--label", "x"), '--label "x" is not of the form KEY=VALUE'),
        (("master", "--link", "wired"), "--link"),
    ):
        done = piccolo("config", "show", *words, home=home)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_an_installed_file_that_is_not_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config, "INSTALLED", tmp_path)
    config.show_role(Role.MASTER, None, {}, Output.TABLE)
    assert str(tmp_path) not in capsys.readouterr().err
    (tmp_path / "node.yaml").write_text("")
    config.show_role(Role.MASTER, None, {}, Output.TABLE)
    hint = f"{tmp_path}/node.yaml is there, and is not read without --config {tmp_path}/node.yaml"
    assert hint in capsys.readouterr().err


def test_yaml_is_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("nodes:\n- {name: a, ip: 10.0.0.1, role: master, labels: {hall: '3'}}\n")
    found: list[Any] = []
    for output, load in ((Output.JSON, json.loads), (Output.YAML, yaml.safe_load)):
        config.show_role(Role.MASTER, file, {"discovery": "any"}, output)
        found.append(load(capsys.readouterr().out))
    assert found[0] == found[1]
    node = {"name": "a", "ip": "10.0.0.1", "role": "master", "labels": {"hall": "3"}}
    assert [v["value"] for v in found[0]["values"] if v["key"] == "nodes[0]"] == [node]
