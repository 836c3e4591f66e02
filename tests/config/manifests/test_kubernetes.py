"""Kubernetes' Pod and Deployment: what is kept, what is told, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from piccolo.core.workloads.containers import (
    Container,
    Device,
    ExecCheck,
    HostPathType,
    HttpCheck,
    Mount,
    MountKind,
    Port,
    Probe,
    Probes,
    PullPolicy,
    Resources,
    SecretKey,
    Security,
    TcpCheck,
)
from piccolo.core.workloads.workload import (
    Network,
    NetworkMode,
    NodeLoss,
    OnNodeLoss,
    Placement,
    Restart,
    RestartPolicy,
    Update,
    UpdateStrategy,
    Workload,
)
from tests.config.manifests.documents import deployment, notices, one, pod, problems

CONTAINER: dict[str, Any] = {
    "command": ["a"],
    "args": ["b"],
    "workingDir": "/w",
    "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080, "protocol": "TCP"}],
    "env": [
        {"name": "A", "value": "1"},
        {"name": "N"},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ],
    "resources": {
        "limits": {"cpu": "1", "memory": "64Mi"},
        "requests": {"cpu": "250m"},
    },
    "volumeMounts": [
        {"name": "host", "mountPath": "/host", "subPath": "sub", "readOnly": True},
        {"name": "bus", "mountPath": "/dev/bus"},
        {"name": "named", "mountPath": "/named"},
        {"name": "claim", "mountPath": "/claim"},
        {"name": "empty", "mountPath": "/empty"},
        {"name": "memory", "mountPath": "/memory"},
    ],
    "livenessProbe": {"httpGet": {"path": "/h", "port": "http"}, "periodSeconds": 5},
    "readinessProbe": {"tcpSocket": {"port": 80}, "initialDelaySeconds": 3},
    "startupProbe": {"exec": {"command": ["true"]}, "failureThreshold": 30},
    "securityContext": {
        "runAsUser": 1000,
        "runAsGroup": 10,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
    },
    "lifecycle": {"stopSignal": "SIGINT"},
}
POD: dict[str, Any] = {
    "volumes": [
        {"name": "host", "hostPath": {"path": "/srv", "type": "Directory"}},
        {"name": "bus", "hostPath": {"path": "/dev/tty0", "type": "CharDevice"}},
        {"name": "named", "hostPath": {"path": "data"}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}},
        {"name": "empty", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ],
    "restartPolicy": "OnFailure",
    "terminationGracePeriodSeconds": 5,
    "nodeName": "n1",
    "nodeSelector": {"zone": "a", "kubernetes.io/hostname": "n1"},
    "hostNetwork": False,
    "hostname": "h",
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}],
    "dnsConfig": {"nameservers": ["10.0.0.2"], "options": [{"name": "ndots", "value": "2"}]},
}


def test_everything_at_once() -> None:
    container = Container(
        name="c",
        image="nginx:1",
        command=("a",),
        args=("b",),
        working_dir="/w",
        env={"A": "1", "N": ""},
        secret_env={"S": SecretKey("s", "k")},
        ports=(Port(80, 8080, name="http"),),
        mounts=(
            Mount("/host", MountKind.HOST, "/srv/sub", HostPathType.DIRECTORY, read_only=True),
            Mount("/named", MountKind.VOLUME, "data"),
            Mount("/claim", MountKind.VOLUME, "c", read_only=True),
            Mount("/empty", MountKind.SCRATCH, "empty"),
            Mount("/memory", MountKind.TMPFS, size=1 << 20),
        ),
        devices=(Device("/dev/tty0", "/dev/bus"),),
        resources=Resources(1.0, 64 << 20, 0, 0.25, 64 << 20),
        security=Security("1000:10", read_only_root=True, add=("NET_RAW",)),
        probes=Probes(
            liveness=Probe(http=HttpCheck(80, "/h"), interval=5.0, timeout=1.0),
            readiness=Probe(tcp=TcpCheck(80), delay=3.0, timeout=1.0),
            startup=Probe(exec=ExecCheck(("true",)), failures=30, timeout=1.0),
        ),
        stop_signal="SIGINT",
    )
    assert one(pod(container=CONTAINER, **POD)) == Workload(
        name="web",
        containers=(container,),
        restart=Restart(RestartPolicy.ON_FAILURE),
        stop_grace=5.0,
        placement=Placement(("n1",), {"zone": "a"}),
        network=Network(
            hostname="h",
            hosts={"a": "10.0.0.1", "b": "10.0.0.1"},
            dns_servers=("10.0.0.2",),
            dns_options=("ndots:2",),
        ),
    )


def test_the_defaults_are_those_of_kubernetes_and_podman() -> None:
    found = one(pod(hostNetwork=True))
    assert found.stop_grace == 30.0
    assert found.restart.policy is RestartPolicy.ALWAYS
    assert found.network.mode is NetworkMode.HOST
    assert found.containers[0].security == Security(new_privileges=True, drop=())
    assert not found.twice


def test_keys_without_values_count_as_not_given() -> None:
    assert one(pod(affinity=None, hostPID=None, volumes=None)) == one(pod())


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", PullPolicy.ALWAYS),
        ("r:5000/nginx:latest", PullPolicy.ALWAYS),
        ("r:5000/nginx:1", PullPolicy.IF_NOT_PRESENT),
        ("nginx@sha256:" + "0" * 64, PullPolicy.IF_NOT_PRESENT),
        ("localhost/nginx:latest", PullPolicy.IF_NOT_PRESENT),
    ],
)
def test_when_an_image_is_fetched(image: str, policy: PullPolicy) -> None:
    assert one(pod(container={"image": image})).containers[0].pull is policy


@pytest.mark.parametrize(
    ("of_pod", "of_container"),
    [
        ({"runAsNonRoot": True, "runAsUser": 5}, {}),
        ({"runAsNonRoot": True}, {"runAsUser": 5}),
        ({"runAsNonRoot": True}, {"runAsNonRoot": False}),
        ({"runAsUser": 5}, {"runAsNonRoot": True}),
    ],
)
def test_who_is_not_root(of_pod: dict[str, Any], of_container: dict[str, Any]) -> None:
    document = pod(securityContext=of_pod, container={"securityContext": of_container})
    assert problems(document) == []


def test_a_deployment() -> None:
    found = one(
        deployment(
            replicas=8,
            strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%"}},
            minReadySeconds=5,
            progressDeadlineSeconds=60,
        )
    )
    assert (found.name, found.replicas, found.labels) == ("web", 8, {"app": "web"})
    assert found.update == Update(UpdateStrategy.ROLLING, 2, 5.0, 60.0)
    assert found.on_node_loss == NodeLoss(OnNodeLoss.RELOCATE, 300.0)
    assert found.twice  # as in Kubernetes


@pytest.mark.parametrize(("wanted", "count"), [(0, 1), ("0%", 1), ("50%", 1), ("100%", 3), (2, 2)])
def test_how_many_may_be_away(wanted: int | str, count: int) -> None:
    strategy = {"rollingUpdate": {"maxUnavailable": wanted}}
    assert one(deployment(replicas=3, strategy=strategy)).update.max_unavailable == count


def test_what_makes_no_difference_is_told() -> None:
    document = pod(dnsPolicy="ClusterFirst", tolerations=[{"x": [1]}], serviceAccountName="a")
    document["metadata"] |= {"annotations": {"a": "b"}, "creationTimestamp": None}
    document["status"] = {}
    assert notices(document) == [
        "Pod web: metadata.annotations: has no effect: nothing here reads it",
        "Pod web: spec.dnsPolicy: has no effect: names are looked up as on the node, or by"
        " dnsConfig",
        "Pod web: spec.tolerations: has no effect: nodes have no taints",
        "Pod web: spec.serviceAccountName: has no effect: pods have no access to the master",
        "Pod web: status: has no effect: the cluster keeps its own",
    ]


MOUNT = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
MEMORY = [{"name": "v", "emptyDir": {"medium": "Memory"}}]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (pod(affinity={}), '"affinity" is not supported: use nodeName or nodeSelector'),
        (pod(hostPID=True), "spec.hostPID: true is not supported: a pod sees its own processes"),
        (pod(containrs=[]), 'did you mean "containers"?'),
        (pod(restartPolicy="No"), "write Always, OnFailure or Never"),
        (pod(nodeName="a", nodeSelector={"kubernetes.io/hostname": "b"}), 'asks for "b" instead'),
        (pod(container={"envFrom": []}), '"envFrom" is not supported: name the variables'),
        (pod(container={"tty": True}), "true is not supported: nobody is at the other end"),
        (pod(container={"livenessProbe": {"httpGet": {"port": "x"}}}), "is named"),
        (pod(container={"livenessProbe": {"httpGet": {"port": 0}}}), "0 is not a port"),
        (pod(container={"livenessProbe": {"httpGet": {"port": "A"}}}), "is not the name of a port"),
        (pod(container={"env": [{"name": "A"}, {"name": "A"}]}), '"A" is given twice (first on'),
        (
            pod(container={"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}),
            '"fieldRef" is not supported',
        ),
        (pod(container={"securityContext": {"runAsNonRoot": True}}), "runAsNonRoot asks for"),
        (
            pod(securityContext={"runAsNonRoot": True, "runAsUser": 0}),
            "spec.containers[0].securityContext: runAsNonRoot",
        ),
        (pod(container=MOUNT), 'spec.volumes has no "v"'),
        (pod(container=MOUNT, volumes=[{"name": "v"}]), "give exactly one of hostPath, emptyDir"),
        (
            pod(container=MOUNT, volumes=[{"name": "v", "hostPath": {"path": "a/b"}}]),
            'spec.volumes[0].hostPath.path: "a/b" is not an absolute path',
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
            '"v" is another volume\'s name (first on line',
        ),
        (
            pod(
                container={"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../x"}]},
                volumes=[{"name": "v", "hostPath": {"path": "/a"}}],
            ),
            "leads out of its volume",
        ),
        (
            pod(
                container={"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "x"}]},
                volumes=[{"name": "v", "emptyDir": {}}],
            ),
            '"subPath" is supported for paths of the node only',
        ),
        (
            pod(
                containers=[{"name": n, "image": "x", **MOUNT} for n in ("a", "b")],
                volumes=MEMORY,
            ),
            "memory cannot be shared by containers",
        ),
        (deployment(paused=True), "true is not supported: it would be kept and not run"),
        (deployment(replicas="2"), "must be a whole number"),
        (
            deployment(selector={"matchLabels": {"app": "other"}}),
            "spec.selector.matchLabels.app: the template has no such label",
        ),
        (deployment(pod_spec={"restartPolicy": "Never"}), "Always is the only policy"),
        (
            deployment(strategy={"rollingUpdate": {"maxUnavailable": "200%"}}),
            "is not a percentage",
        ),
    ],
)
def test_what_is_refused(document: Any, reason: str) -> None:
    found = problems(document)
    assert any(reason in p for p in found), found
    assert len(found) == 1
