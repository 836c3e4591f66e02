"""Containers that end, fall ill, do not start or do not stop: what their node makes of it.

All of them are asked for at once, each with its own trouble; every test looks at one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.workloads import (
    SLEEP,
    Cluster,
    Document,
    assert_nothing_is_left,
    shell,
    until,
    workload,
)
from tests.lab.cluster import Lab
from tests.lab.podman import busybox_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_podman, pytest.mark.slow]

NODE = "node1"
RETRIED = 40.0  # s: what could not be started is tried again after growing pauses
QUICK = {"backoff": {"initial": "200ms", "max": "1s"}}
OFTEN = {"interval": "500ms", "timeout": "300ms", "failures": 2}
SERVE = "echo well >/tmp/index.html; httpd -p {port} -h /tmp; sleep 2; killall httpd; sleep 1000"
WELL_FOR_A_WHILE = "touch /tmp/well; sleep 2; rm /tmp/well; sleep 1000"
GROUPS = Path("/sys/fs/cgroup")
LIMITS_MEMORY = any((GROUPS / file).exists() for file in ("memory", "cgroup.controllers"))


def documents(shared: Path) -> list[Document]:
    """`shared`: a directory of the node."""
    counts = [{"path": "/shared", "hostPath": str(shared)}]
    count = "echo >>/shared/{name}; test $(wc -l </shared/{name}) -gt 2"
    return [
        # They end.
        workload("job", command=["true"], restart={"policy": "OnFailure"}),
        workload(
            "botched", command=shell("echo about to fail; exit 3"), restart={"policy": "Never"}
        ),
        workload(
            "stubborn-job",
            command=shell(count.format(name="stubborn-job")),
            mounts=counts,
            restart={"policy": "OnFailure", **QUICK},
        ),
        workload("loops", command=shell("echo cannot go on; exit 7"), restart=QUICK),
        workload(
            "eats", command=["tail", "/dev/zero"], resources={"memory": "24Mi"}, restart=QUICK
        ),
        # They fall ill.
        workload(
            "by-exec",
            command=shell(WELL_FOR_A_WHILE),
            probes={"liveness": {"exec": {"command": ["test", "-e", "/tmp/well"]}, **OFTEN}},
        ),
        workload(
            "by-http",
            command=shell(SERVE.format(port=8080)),
            network={"mode": "bridge"},
            probes={"liveness": {"http": {"port": 8080, "path": "/index.html"}, **OFTEN}},
        ),
        workload(
            "by-tcp",
            command=shell(SERVE.format(port=8083)),
            probes={"liveness": {"tcp": {"port": 8083}, **OFTEN}},
        ),
        workload(
            "hangs",
            command=SLEEP,
            probes={"liveness": {"exec": {"command": ["sleep", "1000"]}, **OFTEN}},
        ),
        workload(
            "shy",
            command=SLEEP,
            probes={"readiness": {"exec": {"command": ["test", "-e", "/tmp/well"]}, **OFTEN}},
        ),
        # They do not stop, or not start.
        workload("deaf", command=shell('trap "" TERM; while :; do sleep 1; done')),
        workload("imageless", image="localhost/later:latest", restart=QUICK),
        workload("alien", image="localhost/alien:latest"),
        workload(
            "portless",
            network={"mode": "bridge"},
            ports=[{"containerPort": 80, "hostPort": 8099}],
        ),
        workload(
            "mountless",
            mounts=[{"path": "/m", "hostPath": f"{shared}/later", "hostPathType": "Directory"}],
        ),
        workload("programless", command=["no-such-program"]),
    ]


@pytest.fixture(scope="module")
def ward() -> Iterator[Cluster]:
    with Lab(1) as lab:
        shared, rootfs = lab.nodes[NODE].dir / "shared", lab.nodes[NODE].dir / "rootfs.tar"
        shared.mkdir()
        rootfs.write_bytes(busybox_rootfs())
        podman = lab.podman[NODE]
        podman.podman("import", "--arch", "arm64", str(rootfs), "localhost/alien:latest")
        podman.run("squatter", "httpd", "-f", "-p", "8099")
        lab.start_master()
        lab.start_agents()
        cluster = Cluster(lab)
        cluster.start(*documents(shared))
        yield cluster


# ---- they do not start: the reason, and a first step to mend it ----


def test_an_image_that_is_not_there(ward: Cluster) -> None:
    refused = ward.wait("imageless", phase="Error", reason="ImageMissing")
    assert "localhost/later" in refused["message"]
    assert "podman pull" in refused["message"]
    failed = ward.apply(
        workload("imageless", image="localhost/later:latest", restart=QUICK), check=False
    )
    assert failed.returncode == 1
    assert "ImageMissing" in failed.stderr
    ward.lab.podman[NODE].import_image("localhost/later:latest")


def test_a_port_that_is_taken(ward: Cluster) -> None:
    refused = ward.wait("portless", phase="Error", reason="PortTaken")
    assert "8099" in refused["message"]
    ward.lab.podman[NODE].rm("squatter")


def test_a_directory_that_is_missing(ward: Cluster) -> None:
    refused = ward.wait("mountless", phase="Error", reason="MountMissing")
    missing = ward.lab.nodes[NODE].dir / "shared" / "later"
    assert str(missing) in refused["message"]
    missing.mkdir()


def test_an_image_for_other_machines(ward: Cluster) -> None:
    refused = ward.wait("alien", phase="Error", reason="WrongArchitecture")
    assert "arm64" in refused["message"]
    assert ward.get("alien")["failed"]


def test_a_program_that_is_not_there(ward: Cluster) -> None:
    refused = ward.wait("programless", phase="Error", reason="CommandMissing")
    assert "no-such-program" in refused["message"]
    assert len(ward.copies(NODE, "programless")) <= 1


# ---- they end ----


def test_a_job_that_is_done_stays_so(ward: Cluster) -> None:
    done = ward.wait("job", phase="Completed")
    assert (done["restarts"], done["exitCode"]) == (0, 0)
    ward.wait_settled("job")
    assert (
        "as asked"
        in ward.apply(workload("job", command=["true"], restart={"policy": "OnFailure"})).stdout
    )


def test_a_job_that_failed_and_must_not_run_twice(ward: Cluster) -> None:
    failed = ward.wait("botched", phase="Failed")
    assert (failed["restarts"], failed["exitCode"]) == (0, 3)
    until(lambda: ward.get("botched")["failed"])
    told = until(lambda: [e for e in ward.happened("botched.0") if "about to fail" in e["message"]])
    assert "exit code 3" in told[0]["message"]
    assert told[0]["node"] == NODE


def test_a_job_is_repeated_until_it_goes_well(ward: Cluster) -> None:
    done = ward.wait("stubborn-job", phase="Completed")
    assert done["restarts"] == 2


def test_a_crash_loop_is_visible(ward: Cluster) -> None:
    ward.wait("loops", phase="CrashLoop", exitCode=7)
    of = ward.get("loops")
    assert of["failed"], of
    assert of["restarts"] >= 2
    until(lambda: "CrashLoop" in ward.piccolo("get", "workloads").stdout)  # but while it starts
    told = until(lambda: [e for e in ward.happened("loops.0") if "cannot go on" in e["message"]])
    assert "exit code 7" in told[0]["message"]
    before = ward.status("loops")["restarts"]
    until(lambda: ward.status("loops")["restarts"] > before)


@pytest.mark.skipif(not LIMITS_MEMORY, reason="needs control groups that limit memory")
def test_one_that_ran_out_of_memory_is_told_so(ward: Cluster) -> None:
    ward.wait("eats", phase="CrashLoop", reason="OOMKilled", exitCode=137)
    told = [e["message"] for e in ward.happened("eats.0") if e["reason"] == "OOMKilled"]
    assert "ran out of memory" in told[0]


# ---- they fall ill ----


@pytest.mark.parametrize("name", ["by-exec", "by-http", "by-tcp", "hangs"])
def test_whoever_is_not_alive_is_restarted(ward: Cluster, name: str) -> None:
    until(lambda: ward.status(name).get("restarts", 0) >= 1)
    told = until(lambda: [e for e in ward.happened(f"{name}.0") if e["reason"] == "Unhealthy"])
    assert "liveness" in told[0]["message"]
    assert len(ward.copies(NODE, name)) == 1


def test_readiness_restarts_nobody(ward: Cluster) -> None:
    ward.wait("shy", phase="Running", ready=False, reason="NotReady")
    before = ward.copy(NODE, "shy")
    assert not ward.get("shy")["settled"]
    ward.execute(NODE, "shy.0.shy", "touch", "/tmp/well")
    ward.wait("shy", phase="Running", ready=True)
    ward.execute(NODE, "shy.0.shy", "rm", "/tmp/well")
    ward.wait("shy", phase="Running", ready=False)
    assert ward.copy(NODE, "shy").run == before.run


# ---- in the end ----


def test_one_that_ignores_sigterm_is_killed_after_its_grace(ward: Cluster) -> None:
    ward.wait("deaf", phase="Running")
    begun = time.monotonic()
    ward.delete("deaf")
    took = time.monotonic() - begun
    assert 1.0 <= took < 6.0  # grace, and then the rest of it
    assert ward.copies(NODE, "deaf") == {}


@pytest.mark.parametrize("name", ["imageless", "portless", "mountless"])
def test_what_was_mended_runs_by_itself(ward: Cluster, name: str) -> None:
    ward.wait(name, RETRIED, phase="Running", ready=True)
    assert len(ward.copies(NODE, name)) == 1


def test_nothing_was_left_behind(ward: Cluster) -> None:
    assert_nothing_is_left(ward)
    assert list((ward.lab.nodes[NODE].dir / "data" / "instances").iterdir()) == []
