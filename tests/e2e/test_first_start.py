"""The first five minutes with PICCOLO: no configuration, three machines, every verb once."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.asking import eventually, nodes
from tests.e2e.secrets import assert_nothing_secret_was_written
from tests.lab.cluster import PORT, LoopbackLab
from tests.lab.process import Proc

pytestmark = pytest.mark.slow

NAMES = ["bay", "dock", "gate"]
READS = (
    "get nodes -o wide",
    "get nodes -o json",
    "get nodes -o yaml",
    "get nodes -o name",
    "get nodes -l hall=a,.status=Ready -o name",
    "get nodes -l !hall,.connected=true -o name",
    "get nodes -l .nonsense=1",
    "get node dock -o json",
    "get node nobody",
    "get containers",
    "get events",
    "get events --node gate -o json",
    "get topology",
    "get topology -o json",
    "describe node bay",
    "top nodes",
    "top containers",
    "status",
    "status -o json",
    "health bay -o json",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[LoopbackLab]:
    with LoopbackLab(NAMES) as cluster:
        cluster.start_master()
        with cluster.watch_nodes() as watch:
            for name in NAMES:
                cluster.start_agent(name, *(["--label", "hall=a"] if name != "gate" else []))
            for name in NAMES:
                watch.wait_status(name, "Ready", 20)
        eventually(lambda: all(n["usage"] for n in nodes(cluster).values()), 5)
        yield cluster
        assert_nothing_secret_was_written(cluster)


Shown = dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def shown(lab: LoopbackLab) -> Shown:
    """What each command of `READS` shows."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda words: lab.piccolo(*words.split(), check=False), READS)
        return dict(zip(READS, found, strict=True))


def decoded(result: subprocess.CompletedProcess[str]) -> Any:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_without_a_file_every_node_may_join_and_the_log_says_how(lab: LoopbackLab) -> None:
    assert lab.master_proc is not None
    log = lab.master_proc.output()
    assert "any node with a token may join" in log
    assert f"piccolo agent --master {lab.address} --token piccolo1." in log


def test_the_invitation_is_on_stdout_and_in_no_log() -> None:
    """Where standard output is not a file of the lab: only there, while there is no node."""
    with LoopbackLab(0) as empty:
        argv = [str(empty.program), "master", "--listen", empty.address]
        argv += ["--data-dir", str(empty.master.dir / "data")]
        said = []
        for _ in range(2):
            master = Proc(empty.site, empty.master, "split", argv, stdout=subprocess.PIPE)
            empty.wait_listening(master, PORT)
            master.terminate()
            assert master.popen.stdout is not None
            with master.popen.stdout as stdout:
                said.append(stdout.read().decode())
        assert f"    piccolo agent --master {empty.address} --token piccolo1." in said[0]
        tokens = [text.split("--token ")[1].split()[0] for text in said]
        assert tokens[0] != tokens[1], "nobody keeps the first one to show it again"
        assert "to add a node: `piccolo token create`" in master.output()
        assert_nothing_secret_was_written(empty, *tokens)


def test_what_succeeds_says_nothing_on_stderr(shown: Shown) -> None:
    quiet = [w for w in READS if not any(x in w for x in ("nobody", "nonsense", "containers"))]
    assert {w: (shown[w].returncode, shown[w].stderr) for w in quiet} == dict.fromkeys(
        quiet, (0, "")
    )


def test_nodes_as_a_table(shown: Shown) -> None:
    title, *lines = shown["get nodes -o wide"].stdout.splitlines()
    columns = re.split(r" {2,}", title)
    assert columns[:8] == [
        "NAME",
        "STATUS",
        "REASON",
        "ROLE",
        "TYPE",
        "ADDRESS",
        "AGE",
        "LAST SEEN",
    ]
    rows = [dict(zip(columns, re.split(r" {2,}", line), strict=True)) for line in lines]
    assert [(r["NAME"], r["STATUS"], r["LAST SEEN"]) for r in rows] == [
        (name, "Ready", "now") for name in NAMES
    ]
    assert [r["LABELS"] for r in rows] == ["hall=a", "hall=a", "-"]
    assert {r["LINK"] for r in rows} == {"wired"}


def test_nodes_as_documents(shown: Shown) -> None:
    listed = decoded(shown["get nodes -o json"])
    assert [node["name"] for node in listed] == NAMES
    assert {(node["status"], node["role"], node["type"]) for node in listed} == {
        ("Ready", "sub", "embedded")
    }
    same = ("name", "id", "labels", "facts", "resources", "createdAt")
    in_yaml = yaml.safe_load(shown["get nodes -o yaml"].stdout)
    assert [[n[key] for key in same] for n in in_yaml] == [[n[key] for key in same] for n in listed]
    assert shown["get nodes -o name"].stdout.split() == NAMES


def test_one_node(shown: Shown, lab: LoopbackLab) -> None:
    node = decoded(shown["get node dock -o json"])
    identity = json.loads((lab.nodes["dock"].dir / "data" / "identity.json").read_text())
    assert node["id"] == identity["node_id"]
    assert node["labels"] == {"hall": "a"}
    assert node["link"]["connected"]
    assert node["resources"]["cpuCores"] > 0
    assert node["facts"]["kernel"] == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert {c["type"]: c["status"] for c in node["conditions"]}["RuntimeReady"] is False

    missing = shown["get node nobody"]
    assert missing.returncode == 3
    assert "nobody" in missing.stderr
    assert "bay, dock, gate" in missing.stderr


def test_selectors(shown: Shown) -> None:
    assert shown["get nodes -l hall=a,.status=Ready -o name"].stdout.split() == ["bay", "dock"]
    assert shown["get nodes -l !hall,.connected=true -o name"].stdout.split() == ["gate"]
    wrong = shown["get nodes -l .nonsense=1"]
    assert wrong.returncode == 2
    assert "nonsense" in wrong.stderr
    assert "status" in wrong.stderr  # what there is instead


def test_containers_where_there_is_no_runtime(shown: Shown) -> None:
    for words in ("get containers", "top containers"):
        assert (shown[words].returncode, shown[words].stdout) == (0, "")
        assert "no " in shown[words].stderr


def test_events(shown: Shown) -> None:
    lines = shown["get events"].stdout.splitlines()
    assert re.split(r" {2,}", lines[0]) == ["AGE", "LEVEL", "OBJECT", "REASON", "MESSAGE"]
    of_gate = decoded(shown["get events --node gate -o json"])
    told = [event["reason"] for event in of_gate]
    assert [reason for reason in told if reason in ("Registered", "Admitted", "Synced")] == [
        *("Registered", "Admitted", "Synced")
    ]
    assert {event["node"] for event in of_gate} == {"gate"}


def test_topology(shown: Shown) -> None:
    topology = decoded(shown["get topology -o json"])
    assert topology["subNodes"] == NAMES
    assert topology["type"] == "basic-embedded"
    drawn = shown["get topology"].stdout
    assert all(f"─ {name}" in drawn for name in NAMES)


def test_describe(shown: Shown) -> None:
    text = shown["describe node bay"].stdout
    for part in (
        "Name:         bay",
        "Status:       Ready",
        "hall=a",
        "RuntimeReady=false",
        "Synced",
    ):
        assert part in text


def test_top(shown: Shown) -> None:
    assert [line.split()[0] for line in shown["top nodes"].stdout.splitlines()[1:]] == NAMES
    for node in decoded(shown["get nodes -o json"]):
        assert 0 <= node["usage"]["cpuPercent"] <= 100
        assert node["usage"]["memoryUsedMb"] > 0


def test_status(shown: Shown, lab: LoopbackLab) -> None:
    assert "3/3 nodes ready" in shown["status"].stdout
    status = decoded(shown["status -o json"])
    assert status["cluster"]["name"] == "piccolo"
    assert status["master"]["degraded"] is False
    assert status["master"]["addresses"] == [lab.address]
    assert [node["name"] for node in status["nodes"]] == NAMES


def test_health_asks_the_agent_itself(shown: Shown) -> None:
    health = decoded(shown["health bay -o json"])
    assert health["healthy"] is True
    assert health["agent"]["runtimeReady"] is False
    assert 5_000 < health["agent"]["residentKb"] < 50 * 1024  # HLD 8.1


def test_health_of_a_node_that_does_not_answer(lab: LoopbackLab) -> None:
    lab.agents["gate"].freeze()
    try:
        asked = lab.piccolo("health", "gate", "--timeout", "0.5", check=False)
    finally:
        lab.agents["gate"].thaw()
    assert asked.returncode == 1
    assert "gate: unhealthy" in asked.stdout
    assert "did not answer within 0.5 s" in asked.stdout


def test_labels(lab: LoopbackLab) -> None:
    assert "line=3" in lab.piccolo("label", "node", "bay", "line=3", "spare=").stdout
    assert nodes(lab)["bay"]["labels"] == {"hall": "a", "line": "3", "spare": ""}
    kept = lab.piccolo("label", "node", "bay", "line=4", check=False)
    assert kept.returncode == 5
    assert "--overwrite" in kept.stderr
    lab.piccolo("label", "node", "bay", "line=4", "spare-", "--overwrite")
    assert nodes(lab)["bay"]["labels"] == {"hall": "a", "line": "4"}
    assert lab.piccolo("label", "node", "bay", "nonsense", check=False).returncode == 2
    assert lab.piccolo("label", "node", "nobody", "a=b", check=False).returncode == 3


def test_a_watch_lists_then_says_so_then_tells_what_changes(lab: LoopbackLab) -> None:
    with lab.watch("get", "nodes", "-w", "-o", "json") as watch:
        watch.wait_synced()
        listed = [(change.type, change.name) for change in watch.changes]
        assert listed == [*(("ADDED", name) for name in NAMES), ("SYNCED", "")]
        lab.piccolo("label", "node", "dock", "seen=yes")
        change = watch.wait_for(lambda c: c.type == "MODIFIED", 2)
        assert (change.name, change.object["labels"]["seen"]) == ("dock", "yes")
        lab.piccolo("label", "node", "dock", "seen-")
        watch.wait_for(lambda c: c.type == "MODIFIED" and "seen" not in c.object["labels"], 2)
        assert {c.name for c in watch.since(change.at)} == {"dock"}


def test_without_a_context_the_client_says_where_it_looked() -> None:
    with LoopbackLab(0) as empty:
        asked = empty.piccolo("get", "nodes", check=False)
    assert asked.returncode == 2
    assert asked.stdout == ""
    assert str(empty.context) in asked.stderr
    assert "piccolo context import" in asked.stderr


def test_without_a_master_the_client_says_where_it_looked() -> None:
    with LoopbackLab(0) as empty:
        empty.start_master().terminate()
        asked = empty.piccolo("get", "nodes", check=False)
    assert asked.returncode == 4
    assert asked.stdout == ""
    refused = f"piccolo: cannot reach {empty.address}: connection refused; is a master running"
    assert asked.stderr.startswith(refused)
