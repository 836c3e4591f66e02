"""What documents can ask for, on real nodes: dependencies, pods, ports, secrets, formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.workloads import SLEEP, Cluster, assert_nothing_is_left, shell, until, workload
from tests.lab.cluster import Lab

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_podman, pytest.mark.slow]

HELLO = "localhost/hello:latest"
LATE = "node3"  # its agent is started by a test


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Lab(3) as lab:
        lab.start_master()
        with lab.watch_nodes() as watch:
            for name in ("node1", "node2"):
                lab.start_agent(name)
            for name in ("node1", "node2"):
                watch.wait_status(name, "Ready", 20)
        yield Cluster(lab)


# ---- dependencies ----


def test_dependencies_hold_across_nodes(cluster: Cluster) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/well"]}, "interval": "500ms"}
    needs = [
        {"workload": "db", "condition": "healthy"},
        {"workload": "migration", "condition": "completed"},
        {"workload": "queue"},
    ]
    cluster.start(
        workload("shop", "node1", dependsOn=needs),
        workload("db", "node2", command=SLEEP, probes={"readiness": probe}),
        workload(
            "migration",
            "node1",
            command=["true"],
            restart={"policy": "OnFailure"},
            dependsOn=[{"workload": "queue"}],
        ),
        workload("queue", "node2"),
    )
    cluster.wait("migration", phase="Completed")
    waits = cluster.wait("shop", phase="Waiting", reason="DependencyNotReady")
    until(lambda: "db to be healthy" in cluster.status("shop")["message"])
    assert waits["ready"] is False
    assert cluster.copies("node1", "shop") == {}
    assert not cluster.get("shop")["settled"]
    cluster.execute("node2", "db.0.db", "touch", "/tmp/well")
    cluster.wait_settled("shop", "db", "migration", "queue")


def test_dependents_go_first(cluster: Cluster) -> None:
    refused = cluster.piccolo("delete", "workload", "db", "queue", check=False)
    assert refused.returncode == 5
    assert "shop" in refused.stderr
    assert "--cascade" in refused.stderr
    assert cluster.get("db")["deleting"] is False
    with cluster.lab.watch("get", "workloads", "-w", "-o", "json") as watch:
        watch.wait_synced()
        cluster.piccolo("delete", "workload", "db", "queue", "--cascade")
        for name in ("db", "migration", "queue", "shop"):
            watch.wait_deleted(name, timeout=5)
        gone = [c.name for c in watch.changes if c.type == "DELETED"]
    assert sorted(gone) == ["db", "migration", "queue", "shop"]
    assert gone.index("shop") < gone.index("db")
    assert gone.index("shop") < gone.index("migration") < gone.index("queue")
    left = cluster.copies("node1") | cluster.copies("node2")
    assert not {"shop", "db", "migration", "queue"} & {c.workload for c in left.values()}


# ---- more than a container ----


def test_init_container_and_containers_that_share(cluster: Cluster) -> None:
    shared = {"path": "/www", "scratch": "www"}
    fetch = {"command": shell("wget -qO- http://127.0.0.1:8080/page | grep -q made")}
    cluster.apply(
        workload(
            "site",
            "node1",
            network={"mode": "bridge"},
            initContainers=[
                {
                    "name": "maker",
                    "image": HELLO,
                    "command": shell("sleep 1; echo made >/www/page"),
                    "mounts": [shared],
                }
            ],
            containers=[
                {
                    "name": "server",
                    "image": HELLO,
                    "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
                    "mounts": [{**shared, "readOnly": True}],
                },
                {
                    "name": "reader",
                    "image": HELLO,
                    "command": SLEEP,
                    "probes": {"readiness": {"exec": fetch, "interval": "500ms"}},
                },
            ],
        )
    )
    copies = cluster.copies("node1", "site")
    assert set(copies) == {"site.0.maker", "site.0.server", "site.0.reader"}
    assert cluster.status("site")["ready"]
    podman = cluster.lab.podman["node1"]
    assert podman.podman("pod", "ls", "--format", "{{.Name}}").stdout.split() == ["site.0"]
    cluster.delete("site")
    assert podman.podman("pod", "ls", "--quiet").stdout == ""
    assert podman.podman("volume", "ls", "--quiet").stdout == ""


def test_ports_files_and_secrets(cluster: Cluster) -> None:
    cluster.piccolo("secret", "set", "door", "key=sesame", "page=hidden text")

    def document(text: str) -> Any:
        return workload(
            "door",
            "node2",
            network={"mode": "bridge"},
            ports=[{"containerPort": 8080, "hostPort": 8090}],
            command=["httpd", "-f", "-p", "8080", "-h", "/www"],
            env={"KEY": {"secret": "door", "key": "key"}},
            files=[
                {"path": "/www/open", "content": text},
                {
                    "path": "/www/hidden",
                    "secret": {"secret": "door", "key": "page"},
                    "mode": "0444",
                },
            ],
            probes={"readiness": {"http": {"port": 8080, "path": "/open"}, "interval": "1s"}},
        )

    def page(name: str) -> str:
        command = ["wget", "-qO-", f"http://{cluster.lab.nodes['node2'].ip}:8090/{name}"]
        argv = [*cluster.lab.master.prefix(), "busybox", *command]
        return cluster.lab.site.run(argv).stdout

    cluster.apply(document("come in"))
    assert page("open") == "come in"
    assert page("hidden") == "hidden text"
    assert cluster.execute("node2", "door.0.door", "sh", "-c", "echo $KEY") == "sesame\n"
    first = cluster.copy("node2", "door")
    cluster.apply(document("closed"))
    assert page("open") == "closed"
    second = cluster.copy("node2", "door")
    assert second.id != first.id

    cluster.piccolo("secret", "set", "door", "key=sesame", "page=new text", "--replace")
    until(lambda: [c.id for c in cluster.copies("node2", "door").values()] != [second.id])
    cluster.wait("door", phase="Running", ready=True)
    assert page("hidden") == "new text"
    described = cluster.piccolo("describe", "workload", "door").stdout
    assert "8090" in described
    for secret in ("sesame", "new text"):
        assert secret not in described + json.dumps(cluster.get("door"))


# ---- where they run ----


def test_replicas_spread_and_one_per_node_follows_new_nodes(cluster: Cluster) -> None:
    cluster.apply(
        workload("spread", replicas=4, placement={"nodes": ["node1", "node2"]}),
        workload("each", onePerNode=True),
    )
    assert [len(cluster.copies(n, "spread")) for n in ("node1", "node2")] == [2, 2]
    assert [len(cluster.copies(n, "each")) for n in ("node1", "node2")] == [1, 1]
    cluster.lab.start_agent(LATE)
    until(lambda: cluster.get("each")["ready"] == 3)  # "settled" it is while that node is away
    cluster.wait_settled("each")
    assert len(cluster.copies(LATE, "each")) == 1
    assert cluster.copies(LATE, "spread") == {}


def test_nowhere_to_run(cluster: Cluster) -> None:
    done = cluster.apply(workload("lost", "no-such-node"), check=False)
    assert done.returncode == 1
    assert "no-such-node" in done.stderr
    assert cluster.get("lost")["placed"] == 0


# ---- of other formats ----


def pullpiri(action: str) -> list[dict[str, Any]]:
    model = {
        "hostNetwork": True,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "hello", "image": HELLO}],
    }
    node = {"name": "hello", "node": "node1", "resources": {"volume": None, "network": None}}
    specs: dict[str, dict[str, Any]] = {
        "Scenario": {"condition": None, "action": action, "target": "hello"},
        "Package": {"pattern": [{"type": "plain"}], "models": [node]},
        "Model": model,
    }
    return [
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": "hello"}, "spec": spec}
        for kind, spec in specs.items()
    ]


def test_pullpiri(cluster: Cluster) -> None:
    scenario, package, model = pullpiri("launch")
    cluster.apply(package, model)
    held = cluster.get("hello")
    assert held["held"]
    assert held["settled"]
    assert cluster.copies("node1", "hello") == {}
    cluster.apply(scenario, package, model)
    assert cluster.copy("node1", "hello").state == "running"
    cluster.apply(*pullpiri("terminate"))
    assert cluster.copies("node1", "hello") == {}
    assert cluster.get("hello")["held"]


def test_kubernetes(cluster: Cluster) -> None:
    labels = {"app": "dash"}
    container = {
        "name": "dash",
        "image": HELLO,
        "env": [{"name": "THEME", "value": "dark"}],
        "livenessProbe": {"exec": {"command": ["true"]}},
    }
    pod = {"hostNetwork": True, "terminationGracePeriodSeconds": 1, "containers": [container]}
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "dash"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
    )
    copies = [c for node in ("node1", "node2", LATE) for c in cluster.copies(node, "dash").values()]
    assert sorted(c.name for c in copies) == ["dash.0.dash", "dash.1.dash"]


# ---- in the end ----


def test_nothing_was_left_behind(cluster: Cluster) -> None:
    assert_nothing_is_left(cluster)
