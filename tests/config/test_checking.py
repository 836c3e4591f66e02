"""A file checked by itself: whose it is, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from piccolo.config.checking import Remark, check, check_text
from piccolo.core.roles import Role
from tests.config.test_agent import LEGACY
from tests.config.test_master import EVERYTHING


@pytest.mark.parametrize(
    ("text", "name", "role"),
    [
        (LEGACY, "x", Role.AGENT),
        (EVERYTHING, "x", Role.MASTER),
        ("nodeagent:\n", "node.yaml", Role.AGENT),
        ("nodes:\n", "nodeagent.yaml", Role.MASTER),
        ("master_ip: 10.0.0.1\ngrpc_port: 1\n", "x", Role.AGENT),
        ("log_level: info\n", "x", Role.MASTER),
        ("zzz: 1\n", "x", Role.MASTER),
        ("- a\n", "nodeagent.yaml", Role.AGENT),
        ("", "/etc/piccolo/nodeagent.yaml", Role.AGENT),
        ("", "/agents/node.yaml", Role.MASTER),
        ("a: [\n", "nodeagent.yaml", Role.AGENT),
    ],
)
def test_whose_it_is(text: str, name: str, role: Role) -> None:
    assert check_text(text, name).role is role
    for other in Role:
        assert check_text(text, name, other).role is other


def test_all_problems_in_the_order_of_the_file() -> None:
    text = "heartbeat: {misses: 0}\nnodes:\n- {name: A, type: cloud, x: 1}\nlisten: 7\n"
    found = check_text(text, "node.yaml")
    assert [(p.line, p.column) for p in found.problems] == [(1, 13), (3, 4), (3, 26), (4, 1)]
    assert [p.message.split(":")[0] for p in found.problems] == [
        "heartbeat.misses",
        "nodes[0].name",
        "nodes[0]",
        "listen",
    ]
    assert found.notices == []


def test_a_key_of_the_agent_that_is_one_level_too_high() -> None:
    [problem] = check_text("master_ip: 10.0.0.1\n", "x.yaml").problems
    assert 'it belongs below "nodeagent"' in problem.message


def test_what_is_no_yaml_or_no_text_or_not_there(tmp_path: Path) -> None:
    [problem] = check_text("a: [\n", "x.yaml").problems
    assert (problem.line, problem.column) != (0, 0)
    [second] = check_text("nodes: []\n---\nnodes: []\n", "x.yaml").problems
    assert (second.line, second.message.split(":")[0]) == (3, "a second document begins here")
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\n")
    [problem] = check(tmp_path / "x.yaml").problems
    assert (problem.line, problem.column) == (1, 4)
    [problem] = check(tmp_path / "none.yaml").problems
    assert problem == Remark(0, 0, "cannot be read: No such file or directory")


def test_notices() -> None:
    assert check_text("", "node.yaml").notices == [Remark(0, 0, "the file is empty: defaults hold")]
    said = [(n.line, n.message.split(" ")[0]) for n in check_text(LEGACY, "x").notices]
    assert said == [
        (10, "nodeagent.etcd.endpoint"),
        (8, "nodeagent.metrics.batch_size"),
        (13, "nodeagent.system.platform"),
        (14, "nodeagent.system.architecture"),
    ]
    text = "nodeagent: {metrics: {collection_interval: 2s}}\n"
    slow, master = check_text(text, "x").notices
    assert slow.message.endswith("means no more than 5 s: usage goes with the heartbeats")
    assert master.message.startswith("names no master")
    assert check_text(EVERYTHING, "x").notices == []
