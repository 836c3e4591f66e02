"""Documents become containers: apply, diff, history, rollback, restart, delete, on real nodes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.asking import events
from tests.e2e.workloads import Cluster, assert_nothing_is_left, text_of, until, workload
from tests.lab.cluster import Lab

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_podman, pytest.mark.slow]

MANY = 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Lab(2) as lab:
        lab.start_master()
        lab.start_agents()
        yield Cluster(lab)


def changes(done: Any) -> list[tuple[str, str]]:
    return [(change["name"], change["what"]) for change in json.loads(done.stdout)["changes"]]


def same(one: Any, other: Any) -> bool:
    return bool(one.run == other.run)


# ---- apply ----


def test_new_unchanged_changed(cluster: Cluster) -> None:
    document = workload("web", "node1", env={"GREETING": "hello"})
    done = cluster.apply(document)
    assert "workload/web created" in done.stdout
    assert "1 workload is as asked" in done.stdout
    first = cluster.copy("node1", "web")
    assert (first.name, first.state) == ("web.0.web", "running")
    known = cluster.get("web")
    assert (known["state"], known["ready"], known["generation"]) == ("Running", 1, 1)

    assert "workload/web unchanged" in cluster.apply(document).stdout
    assert same(cluster.copy("node1", "web"), first)
    assert cluster.get("web")["revision"] == known["revision"]

    done = cluster.apply(workload("web", "node1", env={"GREETING": "good day"}))
    assert "workload/web changed (generation 2)" in done.stdout
    second = cluster.copy("node1", "web")
    assert second.id != first.id
    assert cluster.execute("node1", "web.0.web", "sh", "-c", "echo $GREETING") == "good day\n"


def test_what_the_agent_can_change_alone_touches_no_container(cluster: Cluster) -> None:
    cluster.start(workload("scaled", "node1"))
    cluster.wait_settled("scaled")
    before = cluster.copy("node1", "scaled")
    probe = {"liveness": {"exec": {"command": ["true"]}}}
    cluster.apply(workload("scaled", "node1", replicas=2, probes=probe, stop={"grace": "2s"}))
    copies = cluster.copies("node1", "scaled")
    assert set(copies) == {"scaled.0.scaled", "scaled.1.scaled"}
    assert same(copies["scaled.0.scaled"], before)
    cluster.start(workload("scaled", "node1", replicas=1))
    until(lambda: len(cluster.copies("node1", "scaled")) == 1)
    assert same(cluster.copy("node1", "scaled"), before)


def test_a_dry_run_and_a_diff_change_nothing(cluster: Cluster) -> None:
    cluster.start(workload("kept", "node1"))
    cluster.wait_settled("kept")
    before, copy = cluster.get("kept"), cluster.copy("node1", "kept")
    told = events(cluster.lab)
    file = cluster.write(workload("kept", "node1", env={"A": "1"}), workload("fresh"))
    shown = cluster.piccolo("apply", "-f", file, "--dry-run", "--diff").stdout
    assert "workload/kept would be changed" in shown
    assert "workload/fresh would be created" in shown
    assert 'env.A: - -> "1"' in shown
    differs = cluster.piccolo("diff", "-f", file, check=False)
    assert (differs.returncode, "fresh" in differs.stdout) == (1, True)
    same_file = cluster.write(workload("kept", "node1"))
    assert cluster.piccolo("diff", "-f", same_file).returncode == 0
    assert cluster.get("kept") == before
    assert same(cluster.copy("node1", "kept"), copy)
    assert "fresh" not in cluster.all()
    assert events(cluster.lab) == told


def test_two_clients_apply_the_same_at_once(cluster: Cluster) -> None:
    documents = [workload(f"both{n}", "node2") for n in range(3)]
    file, barrier = cluster.write(*documents), threading.Barrier(2)

    def apply(_: int) -> list[tuple[str, str]]:
        barrier.wait()
        return changes(cluster.piccolo("apply", "-f", file, "-o", "json"))

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(apply, range(2))
    for (name, what), (_, also) in zip(one, other, strict=True):
        assert {what, also} == {"created", "unchanged"}, name
        assert cluster.get(name)["generation"] == 1
        assert len(cluster.copies("node2", name)) == 1


def test_many_at_once(cluster: Cluster) -> None:
    documents = [workload(f"many{n}", stop={"grace": "0s"}) for n in range(MANY)]
    done = cluster.apply(*documents)
    assert f"{MANY} workloads are as asked" in done.stdout
    copies = {node: cluster.copies(node) for node in ("node1", "node2")}
    counts = {
        node: sum(c.workload.startswith("many") for c in found.values())
        for node, found in copies.items()
    }
    assert sum(counts.values()) == MANY
    assert min(counts.values()) >= MANY // 3  # no node is left out
    cluster.delete(*(f"many{n}" for n in range(MANY)))
    for node in copies:
        assert not [c for c in cluster.copies(node) if c.startswith("many")]


def test_bad_documents_change_nothing(cluster: Cluster) -> None:
    before = cluster.all()
    good, typo = text_of([workload("good")]), text_of([workload("bad", enf={})])
    file = cluster.lab.master.dir / "bad.yaml"
    file.write_text(f"{good}\n---\n{typo}")
    refused = cluster.piccolo("apply", "-f", str(file), check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert 'unknown key "enf"; did you mean "env"?' in refused.stderr
    assert "bad.yaml:3:" in refused.stderr
    file.write_text("[" * (10 << 20))
    refused = cluster.piccolo("apply", "-f", str(file), check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "1 MiB" in refused.stderr
    assert cluster.all() == before


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (text_of([workload("good"), workload("good")]), '"good" is defined already'),
        (
            text_of(workload(a, dependsOn=[{"workload": b}]) for a, b in ("ab", "bc", "ca")),
            "a → b → c → a",
        ),
        (text_of([workload("big", env={"A": "x" * (2 << 20)})]), "1 MiB"),
        ("[" * 100_000, "nested"),
        ("kind: Workload\n\tmetadata: {}", "tab"),
        ("apiVersion: piccolo.io/v1\nkind: Workload\nkind: Workload\n", "kind"),
        (BOMB, ""),
    ],
    ids=["twice", "circle", "large", "nested", "tab", "duplicate key", "bomb"],
)
def test_the_master_takes_no_bad_documents(cluster: Cluster, text: str, said: str) -> None:
    """Whoever sends them; the program would not send all of these."""
    before = cluster.all()
    [problem, *_] = cluster.problems(text)
    assert said in problem
    assert cluster.all() == before


def test_a_circle_through_what_is_there_is_refused(cluster: Cluster) -> None:
    cluster.start(workload("head", dependsOn=[{"workload": "tail"}]))
    refused = cluster.apply(workload("tail", dependsOn=[{"workload": "head"}]), check=False)
    assert refused.returncode == 2
    assert "head → tail → head" in refused.stderr or "tail → head → tail" in refused.stderr
    assert "tail" not in cluster.all()
    cluster.delete("head")


def test_waiting_ends_when_its_time_is_over(cluster: Cluster) -> None:
    probe = {"readiness": {"exec": {"command": ["false"]}}}
    done = cluster.apply(
        workload("never", "node1", probes=probe), options=("--timeout", "2s"), check=False
    )
    assert done.returncode == 7
    assert "never" in done.stderr
    assert "goes on by itself" in done.stderr


# ---- history ----


def test_history_and_the_way_back(cluster: Cluster) -> None:
    for version in ("one", "two", "three"):
        cluster.start(workload("app", "node1", env={"VERSION": version}))

    def running() -> str:
        return cluster.execute("node1", "app.0.app", "sh", "-c", "echo $VERSION").strip()

    done = cluster.piccolo("rollback", "workload", "app")
    assert "generation 4" in done.stdout
    assert running() == "two"
    cluster.piccolo("rollback", "workload", "app", "--to", "1")
    assert running() == "one"
    history = json.loads(cluster.piccolo("history", "workload", "app", "-o", "json").stdout)
    assert [g["generation"] for g in history] == [1, 2, 3, 4, 5]
    assert [g["cause"].split()[0] for g in history] == ["apply"] * 3 + ["rollback"] * 2
    assert [g["current"] for g in history] == [False] * 4 + [True]
    missing = cluster.piccolo("rollback", "workload", "app", "--to", "9", check=False)
    assert missing.returncode == 3
    assert "there are 1, 2, 3, 4" in missing.stderr


def test_restart_makes_fresh_containers_of_the_same_spec(cluster: Cluster) -> None:
    cluster.start(workload("tired", "node1"), workload("awake", "node1"))
    cluster.wait_settled("tired", "awake")
    tired, awake = cluster.copy("node1", "tired"), cluster.copy("node1", "awake")
    cluster.piccolo("restart", "workload", "tired")
    assert cluster.copy("node1", "tired").id != tired.id
    assert same(cluster.copy("node1", "awake"), awake)
    assert cluster.get("tired")["generation"] == 1


# ---- in the end ----


def test_nothing_was_left_behind(cluster: Cluster) -> None:
    assert_nothing_is_left(cluster)
    missing = cluster.piccolo("delete", "workload", "web", check=False)
    assert missing.returncode == 3
