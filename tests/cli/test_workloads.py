"""`piccolo get`, `describe` and `history` of workloads: how they are shown."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from piccolo.cli.options import Output
from piccolo.cli.show.describe_workload import print_workload
from piccolo.cli.show.kinds import WORKLOADS
from piccolo.cli.show.spec import spec_dict, spec_of
from piccolo.cli.show.workload_rows import nodes
from piccolo.cli.workloads.change_rows import field_text
from piccolo.core import plain
from piccolo.core.errors import InvalidSpec, NotFound
from piccolo.core.workloads.containers import (
    Container,
    HttpCheck,
    Mount,
    MountKind,
    Port,
    Probe,
    Probes,
    Resources,
    SecretKey,
)
from piccolo.core.workloads.workload import Placement, Workload
from piccolo.rpc import wire
from tests.cli.scripted import (
    PICCOLO,
    Cluster,
    ScriptedMaster,
    now,
    piccolo,
    refuse,
    saved,
    scripted,
)
from tests.cli.workloads.served import added, failed, instance, modified, starting, story, workload

SPEC = Workload(
    name="web",
    containers=(
        Container(
            "main",
            "localhost/app:1",
            args=("serve", "--all"),
            env={"MY_ENV": "x"},
            secret_env={"TOKEN": SecretKey("web", "token")},
            ports=(Port(80, 8080), Port(81)),
            mounts=(Mount("/data", MountKind.VOLUME, "web-data", read_only=True),),
            resources=Resources(cpu=0.5, memory=64 << 20),
            probes=Probes(liveness=Probe(http=HttpCheck(80))),
        ),
    ),
    init_containers=(Container("prepare", "localhost/prepare:1"),),
    placement=Placement(nodes=("n1", "n2"), labels={"zone": "front"}),
    replicas=3,
)
TEXT = plain.encode(SPEC).decode()


# ---- lists ----


def printed(capsys: pytest.CaptureFixture[str], *items: wire.Workload, wide: bool = False) -> str:
    WORKLOADS.print(items, None, Output.WIDE if wide else Output.TABLE)
    return capsys.readouterr().out


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    two = [instance(0, "n1"), instance(1, "n2")]
    made = now() - timedelta(seconds=90)
    lines = printed(
        capsys,
        failed("db", message="x" * 100, restarts=4, created_at=made, instances=[]),
        workload("web", wanted=2, ready=2, instances=two, created_at=made),
    ).splitlines()
    assert lines[0].split() == ["NAME", "STATE", "READY", "RESTARTS", "NODES", "AGE", "MESSAGE"]
    assert lines[1].split()[:4] == ["db", "Failed", "0/1", "4"]
    assert lines[1].endswith("x" * 100)
    assert lines[2].split() == ["web", "Running", "2/2", "0", "n1,n2", "1m30s", "-"]
    assert "localhost/app:1" in printed(capsys, workload(), wide=True)


def test_many_nodes_are_counted() -> None:
    many = workload(instances=[instance(n, f"n{n}") for n in range(1, 6)])
    assert nodes(many) == "n1,n2,+3"
    assert nodes(many, most=0) == "n1,n2,n3,n4,n5"
    twice = workload(instances=[instance(0, "n1"), instance(1, "n1")])
    assert nodes(twice) == "n1"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    lost = instance(1, "n2", stale=True, status=None)
    WORKLOADS.print([workload(instances=[instance(), lost])], None, Output.JSON)
    [found] = json.loads(capsys.readouterr().out)
    assert (found["name"], found["dependsOn"], found["settled"]) == ("web", [], True)
    assert found["createdAt"].endswith("Z")
    assert found["instances"][0]["status"]["phase"] == "Running"
    assert found["instances"][1] == {
        "index": 1,
        "node": "n2",
        "nodeId": "",
        "generation": 1,
        "stale": True,
        "status": None,
    }


def test_a_spec_is_in_camel_case_but_for_names_that_people_gave() -> None:
    found = spec_dict(SPEC)
    assert "initContainers" in found
    [container] = found["containers"]
    assert container["env"] == {"MY_ENV": "x"}
    assert container["secretEnv"] == {"TOKEN": {"secret": "web", "key": "token"}}
    assert container["ports"] == [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]
    assert found["placement"] == {"nodes": ["n1", "n2"], "labels": {"zone": "front"}}
    json.dumps(found)
    assert spec_of(TEXT) == SPEC
    with pytest.raises(InvalidSpec, match="the spec that the master sent"):
        spec_of("[]")


# ---- describe ----


def test_describe(capsys: pytest.CaptureFixture[str]) -> None:
    status = wire.InstanceStatus(
        phase="CrashLoop", reason="Exited", message="no disk\x1b[2J", exit_code=3, restarts=7
    )
    found = starting(
        wanted=3,
        placed=2,
        instances=[instance(), instance(1, "n2", status=status), instance(2, "n3", stale=True)],
        depends_on=["db is healthy"],
        labels={"tier": "front"},
        package="hello",
        held=True,
    )
    event = wire.Event(time=now(), kind="workload", subject="web.1", reason="BackOff", message="so")
    container = wire.Container(node_name="n1", status=wire.ContainerStatus(name="web.0.main"))
    print_workload(
        wire.GetWorkloadResponse(workload=found, spec=TEXT, events=[event], containers=[container])
    )
    text = capsys.readouterr().out
    assert "\x1b" not in text
    lines = text.splitlines()
    for line in (
        "State:        Starting, held until an action launches it",
        "Reason:       its image is pulled",
        "Ready:        0/3, 1 of generation 1, 2 on a node",
        "Depends on:   db is healthy",
        "Copies:       3",
        "Placement:    on n1 or n2, with zone=front",
        "Restart:      Always, after pauses of 1 s to 5 m",
        "Container prepare (runs before the others)",
        "  Command:    serve --all",
        "  Ports:      8080 -> 80/tcp, 81/tcp",
        "  Mounts:     /data (volume web-data, read-only)",
        "  Variables:  MY_ENV, TOKEN",
        "  At most:    0.5 cores, 64.0Mi",
        "  Probes:     liveness",
    ):
        assert line in lines
    assert "Exited: no disk�[2J (exit code 3)" in text
    assert "Running (stale)" in text
    assert "web.0.main" in text
    assert "workload/web.1   BackOff   so" in text


def test_describe_of_one_per_node_without_anything(capsys: pytest.CaptureFixture[str]) -> None:
    spec = plain.encode(replace(SPEC, one_per_node=True)).decode()
    found = workload(instances=[], deleting=True)
    print_workload(wire.GetWorkloadResponse(workload=found, spec=spec))
    text = capsys.readouterr().out
    assert "Copies:       one on each node" in text
    assert "Running, it is being deleted" in text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ('"a"', '"b"', 'p: "a" -> "b"'),
        ("", "1", "p: - -> 1"),
        ("1", "", "p: 1 -> -"),
        ("x" * 500 + "a", "x" * 500 + "b", f"p: …{'x' * 20}a -> …{'x' * 20}b"),
        ("a" * 500, "b", f"p: {'a' * 120}… -> b"),
        ("x" * 200, "x" * 201, f"p: …{'x' * 20} -> …{'x' * 21}"),
        ('"\x1b[2J"', "1", 'p: "�[2J" -> 1'),
    ],
)
def test_a_difference_shows_where_it_is(before: str, after: str, text: str) -> None:
    assert field_text(wire.FieldChange("p", before, after)) == text


# ---- the program ----


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def master(cluster: Cluster, tmp_path: Path) -> Iterator[ScriptedMaster]:
    with scripted(cluster.tls()) as found:
        saved(tmp_path / "admin.yaml", cluster.context(found.address))
        yield found


def run(home: Path, *args: str, code: int = 0) -> tuple[str, str]:
    done = piccolo(*args, "--context", str(home / "admin.yaml"), home=home)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_get(master: ScriptedMaster, tmp_path: Path) -> None:
    master.answers["get_workloads"] = lambda _: wire.GetWorkloadsResponse()
    _, err = run(tmp_path, "get", "workloads", "-l", "tier=front", "--node", "n1")
    assert err == "piccolo: nothing matches tier=front\n"
    assert "piccolo apply -f FILE" in run(tmp_path, "get", "workloads")[1]
    first = master.requests("get_workloads")[0]
    assert (first.filter, first.node) == ("tier=front", "n1")
    one = wire.GetWorkloadResponse(workload=workload(), spec=TEXT)
    master.answers["get_workload"] = lambda _: one
    assert "Running" in run(tmp_path, "get", "workload", "workload/web")[0]
    assert master.requests("get_workload")[0].name == "web"
    found = yaml.safe_load(run(tmp_path, "get", "workload", "web", "-o", "yaml")[0])
    assert (found["name"], found["spec"]["replicas"]) == ("web", 3)
    assert "Copies:       3" in run(tmp_path, "describe", "workload", "web")[0]
    master.answers["get_workload"] = refuse(NotFound("there is no workload web"))
    run(tmp_path, "describe", "workload", "web", code=3)


@pytest.mark.slow
def test_watch(master: ScriptedMaster, tmp_path: Path) -> None:
    stories = [story(*added(starting()), modified(workload()), goes_on=False)]
    refused = refuse(NotFound("enough"))
    master.answers["watch"] = lambda r: stories.pop()(r) if stories else refused(r)
    out, _ = run(tmp_path, "get", "workload", "web", "-w", code=3)
    assert [line.split()[1] for line in out.splitlines()] == ["STATE", "Starting", "Running"]
    request = master.requests("watch")[0]
    assert (request.kind, request.names) == (wire.WatchKind.WORKLOAD, ["web"])


@pytest.mark.slow
@pytest.mark.parametrize("args", [["get", "workloads"], ["get", "workloads", "-w"], ["audit"]])
def test_a_reader_that_has_seen_enough(
    master: ScriptedMaster, tmp_path: Path, args: list[str]
) -> None:
    listed = [workload(f"w{n}") for n in range(100)]
    master.answers["get_workloads"] = lambda _: wire.GetWorkloadsResponse(workloads=listed)
    master.answers["watch"] = story(*added(*listed), pause=0)
    master.answers["get_audit"] = lambda _: [wire.AuditRecord(time=now())] * 100
    argv = [str(PICCOLO), *args, "--context", str(tmp_path / "admin.yaml")]
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(argv, stdout=closed, stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
def test_history(master: ScriptedMaster, tmp_path: Path) -> None:
    fields = [wire.FieldChange("replicas", "2", "3")]
    generations = [
        wire.Generation(number=3, at=now(), by="admin:eve", cause="apply", spec=TEXT),
        wire.Generation(4, now(), "admin:eve", "rollback to 2", fields, TEXT),
    ]
    master.answers["get_history"] = lambda _: wire.GetHistoryResponse(generations=generations)
    lines = run(tmp_path, "history", "workload", "web")[0].splitlines()
    assert lines[0].split() == ["GENERATION", "AGE", "BY", "CAUSE", "CHANGED"]
    assert lines[1].split()[0] == "3"
    assert lines[2].startswith("4 * ")
    assert lines[2].endswith("admin:eve   rollback to 2   replicas")
    found = json.loads(run(tmp_path, "history", "workload", "web", "-o", "json")[0])
    assert [(g["generation"], g["current"]) for g in found] == [(3, False), (4, True)]
    assert found[1]["fields"] == [{"path": "replicas", "before": 2, "after": 3}]
    one = ("history", "workload", "web", "--generation", "4")
    text, _ = run(tmp_path, *one)
    head, change, _, *spec = text.splitlines()
    assert head.startswith("generation 4, the current one: rollback to 2 by admin:eve, ")
    assert change == "  replicas: 2 -> 3"
    assert yaml.safe_load("\n".join(spec))["replicas"] == 3
    found = yaml.safe_load(run(tmp_path, *one, "-o", "yaml")[0])
    assert (found["generation"], found["spec"]["replicas"]) == (4, 3)
    _, err = run(tmp_path, *one[:-1], "9", code=3)
    assert err == "piccolo: generation 9 of workload web is not kept; there are: 3, 4\n"
