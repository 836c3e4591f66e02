"""The native format: what each key means, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from piccolo.core.model import NodeRole, NodeType
from piccolo.core.workloads.containers import (
    Container,
    Device,
    ExecCheck,
    File,
    HostPathType,
    HttpCheck,
    Mount,
    MountKind,
    Port,
    Probe,
    Probes,
    Protocol,
    PullPolicy,
    Resources,
    SecretKey,
    Security,
    TcpCheck,
)
from piccolo.core.workloads.workload import (
    Dependency,
    DependencyCondition,
    Isolation,
    Network,
    NetworkMode,
    NodeLoss,
    OnIsolation,
    OnNodeLoss,
    Placement,
    Restart,
    RestartPolicy,
    Update,
    UpdateStrategy,
    Workload,
)
from tests.config.manifests.documents import native, one, problems

EVERYTHING: dict[str, Any] = {
    "image": "registry.example:5000/a/b:1@sha256:" + "0" * 64,
    "imagePullPolicy": "Never",
    "command": ["/bin/a"],
    "args": ["-x"],
    "workingDir": "/srv/",
    "env": {"A": "1", "B": {"secret": "s", "key": "k.txt"}},
    "ports": [
        {"containerPort": 80, "hostPort": 8080, "protocol": "UDP", "hostIP": "10.0.0.1"},
        {"containerPort": 81, "name": "http"},
    ],
    "mounts": [
        {"path": "/a", "hostPath": "/srv/a", "hostPathType": "Directory", "readOnly": True},
        {"path": "/b", "volume": "data"},
        {"path": "/c", "scratch": "shared"},
        {"path": "/d", "tmpfs": "1.5Mi"},
    ],
    "devices": ["/dev/a", "/dev/b:/dev/c", "/dev/d:r", "/dev/e:/dev/f:rw"],
    "files": [
        {"path": "/etc/x", "content": "text", "mode": "0755"},
        {"path": "/etc/y", "base64": "AAEC"},
        {"path": "/etc/z", "secret": {"secret": "s", "key": "k"}},
    ],
    "resources": {"cpu": "500m", "memory": "64Mi", "pids": 10, "reserve": {"cpu": 0.25}},
    "security": {
        "user": "1000:10",
        "readOnlyRoot": True,
        "capabilities": ["CAP_NET_RAW", "chown"],
        "allowPrivilegeEscalation": True,
    },
    "probes": {
        "liveness": {
            "http": {"port": 80, "path": "/h", "scheme": "HTTPS", "headers": {"a": "b"}},
            "delay": "1m",
            "interval": 5,
            "timeout": "500ms",
            "failures": 5,
            "successes": 2,
        },
        "readiness": {"tcp": {"port": 80}},
        "startup": {"exec": {"command": ["true"]}},
    },
    "restart": {"policy": "OnFailure", "backoff": {"initial": "2s", "max": "1m"}},
    "stop": {"signal": "int", "grace": "1m"},
    "dependsOn": [{"workload": "db", "condition": "completed"}, {"workload": "mq"}],
    "placement": {
        "nodes": ["n1", "n2"],
        "labels": {"zone": "a"},
        "type": "cloud",
        "role": "sub",
    },
    "replicas": 2,
    "update": {"strategy": "Recreate", "maxUnavailable": 2, "minReady": "5s", "deadline": "1m"},
    "onNodeLoss": {"action": "Relocate", "after": "5m"},
    "onIsolation": {"action": "Stop", "after": "1m"},
    "network": {
        "mode": "bridge",
        "name": "plant",
        "hostname": "h",
        "hosts": {"db": "10.0.0.2"},
        "dns": {"servers": ["10.0.0.3"], "searches": ["example"], "options": ["ndots:2"]},
    },
}


def test_everything_at_once() -> None:
    container = Container(
        name="web",
        image=EVERYTHING["image"],
        pull=PullPolicy.NEVER,
        command=("/bin/a",),
        args=("-x",),
        working_dir="/srv",
        env={"A": "1"},
        secret_env={"B": SecretKey("s", "k.txt")},
        ports=(Port(80, 8080, Protocol.UDP, "10.0.0.1"), Port(81, name="http")),
        mounts=(
            Mount("/a", MountKind.HOST, "/srv/a", HostPathType.DIRECTORY, read_only=True),
            Mount("/b", MountKind.VOLUME, "data"),
            Mount("/c", MountKind.SCRATCH, "shared"),
            Mount("/d", MountKind.TMPFS, size=3 << 19),
        ),
        devices=(
            Device("/dev/a", "/dev/a"),
            Device("/dev/b", "/dev/c"),
            Device("/dev/d", "/dev/d", "r"),
            Device("/dev/e", "/dev/f", "rw"),
        ),
        files=(
            File("/etc/x", "text", mode=0o755),
            File("/etc/y", "AAEC", base64=True),
            File("/etc/z", secret=SecretKey("s", "k"), mode=0o400),
        ),
        resources=Resources(0.5, 64 << 20, 10, 0.25, 64 << 20),
        security=Security(
            user="1000:10",
            new_privileges=True,
            read_only_root=True,
            drop=("ALL",),
            add=("CHOWN", "NET_RAW"),
        ),
        probes=Probes(
            liveness=Probe(
                http=HttpCheck(80, "/h", "", True, {"a": "b"}),
                delay=60.0,
                interval=5.0,
                timeout=0.5,
                failures=5,
                successes=2,
            ),
            readiness=Probe(tcp=TcpCheck(80)),
            startup=Probe(exec=ExecCheck(("true",))),
        ),
        stop_signal="SIGINT",
    )
    assert one(native(**EVERYTHING)) == Workload(
        name="web",
        containers=(container,),
        restart=Restart(RestartPolicy.ON_FAILURE, 2.0, 60.0),
        stop_grace=60.0,
        depends_on=(Dependency("db", DependencyCondition.COMPLETED), Dependency("mq")),
        placement=Placement(("n1", "n2"), {"zone": "a"}, NodeType.CLOUD, NodeRole.SUB),
        replicas=2,
        update=Update(UpdateStrategy.RECREATE, 2, 5.0, 60.0, True),
        on_node_loss=NodeLoss(OnNodeLoss.RELOCATE, 300.0),
        on_isolation=Isolation(OnIsolation.STOP, 60.0),
        network=Network(
            NetworkMode.BRIDGE,
            "plant",
            "h",
            {"db": "10.0.0.2"},
            ("10.0.0.3",),
            ("example",),
            ("ndots:2",),
        ),
    )


def test_the_defaults_are_the_safe_ones_of_the_core() -> None:
    found = one(native())
    assert found == Workload("web", (Container("web", "nginx"),))
    assert found.containers[0].security.drop == ("ALL",)
    assert not found.containers[0].security.new_privileges
    assert not found.twice


def test_keys_without_values_count_as_not_given() -> None:
    assert one(native(ports=None, dependsOn=None, env=None)) == one(native())


def test_none_at_all_may_be_asked_for() -> None:
    assert one(native(replicas=0)).replicas == 0


def test_several_containers() -> None:
    found = one(
        native(
            containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "y"}],
            initContainers=[{"name": "i", "image": "z"}],
            stop={"signal": "SIGQUIT"},
        )
    )
    assert [c.name for c in found.containers] == ["a", "b"]
    assert [c.name for c in found.init_containers] == ["i"]
    assert {c.stop_signal for c in found.containers} == {"SIGQUIT"}


PORT = {"containerPort": 80, "hostPort": 80}
TWO = [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"imagee": "x"}, 'unknown key "imagee"; did you mean "image"? allowed here: image,'),
        ({"policy": "Always"}, 'unknown key "policy"; it belongs below "restart"'),
        ({"ports": [{"containerPort": 1, "host_port": 1}]}, 'did you mean "hostPort"?'),
        ({"image": "Nginx"}, '"Nginx" is not the name of an image'),
        ({"image": "a" * 600}, "is too long: at most 512 characters"),
        ({"image": "a b"}, "is not the name of an image"),
        ({"env": {"A": 5}}, 'spec.env.A: 5 must be text: put it in quotes, "5"'),
        ({"env": {"A": {"secret": "x"}}}, 'spec.env.A: "key" is missing'),
        ({"env": {"A=B": "1"}}, '"A=B" is not the name of an environment variable'),
        ({"env": {"A": ["x"]}}, "spec.env.A: must be text, not a list"),
        ({"ports": [{"containerPort": 0}]}, "0 is not a port: write a number from 1 to 65535"),
        ({"ports": [{"containerPort": "80"}]}, '"80" is not a port'),
        ({"ports": [{"containerPort": 80, "protocol": "icmp"}]}, "write tcp, udp or sctp"),
        ({"ports": [PORT, {"containerPort": 80}]}, '"80/tcp" is listened on already'),
        ({"ports": [PORT, {**PORT, "containerPort": 81}]}, "of the node is taken already"),
        (
            {"ports": [{**PORT, "hostIP": "10.0.0.1"}, {**PORT, "containerPort": 81}]},
            '"80/tcp" of the node is taken already (first on line',
        ),
        ({"ports": [PORT], "network": {"mode": "none"}}, "without a network no port can be"),
        (
            {"ports": [{**PORT, "hostPort": 81}], "network": {"mode": "host"}},
            "it must be the same as containerPort",
        ),
        (
            {"ports": [PORT], "replicas": 3, "placement": {"nodes": ["a", "b"]}},
            "3 replicas cannot all have this port: they may run on 2 nodes only",
        ),
        (
            {"ports": [{"containerPort": n, "name": "x"} for n in (1, 2)]},
            'spec.ports[1].name: "x" is the name of another port',
        ),
        ({"mounts": [{"path": "a", "volume": "x"}]}, '"a" is not an absolute path'),
        ({"mounts": [{"path": "/", "volume": "x"}]}, '"/" is the whole container'),
        ({"mounts": [{"path": "/a", "hostPath": "b"}]}, '"b" is not an absolute path'),
        ({"mounts": [{"path": "/a", "volume": "/b"}]}, '"/b" is not the name of a volume'),
        ({"mounts": [{"path": "/a"}]}, "give exactly one of hostPath, volume, scratch, tmpfs"),
        ({"mounts": [{"path": "/a", "volume": "x", "hostPathType": "File"}]}, "only with hostPath"),
        (
            {
                "mounts": [{"path": "/a/", "volume": "x"}],
                "files": [{"path": "/a", "content": ""}],
            },
            'spec.files[0]: "/a" is a mount or file of this container already (first on line',
        ),
        ({"files": [{"path": "/a", "content": "", "mode": 644}]}, "must be text, not 644"),
        ({"files": [{"path": "/a", "content": "", "mode": "888"}]}, 'such as "0644"'),
        ({"files": [{"path": "/a", "base64": "!"}]}, "this is not base64"),
        ({"files": [{"path": "/a"}]}, "give exactly one of content, base64, secret"),
        ({"files": [{"path": "/a", "content": "x" * 600_000}]}, "at most 512 KiB are possible"),
        ({"devices": ["/dev/x:/dev/y:q"]}, "is not a device: write PATH"),
        ({"devices": ["dev"]}, '"dev" is not an absolute path'),
        ({"resources": {"memory": "64M1"}}, '"64M1" is not a size'),
        ({"resources": {"memory": 0}}, "0 is not possible: more than 0"),
        ({"resources": {"memory": "9999999Ti"}}, "at most 1024Ti"),
        ({"resources": {"cpu": "x"}}, '"x" is no number of cores'),
        ({"resources": {"cpu": float("nan")}}, "nan is not possible"),
        ({"resources": {"cpu": 1, "reserve": {"cpu": 2}}}, "more cpu is set aside than"),
        ({"security": {"capabilities": ["NET_ADMN"]}}, 'did you mean "NET_ADMIN"?'),
        ({"security": {"user": 1000}}, "put it in quotes"),
        ({"stop": {"signal": "TREM"}}, 'did you mean "SIGTERM"?'),
        ({"stop": {"grace": "-1s"}}, "is not a duration"),
        ({"stop": {"grace": "2d"}}, "2 d is above the maximum of 1 d"),
        ({"probes": {"liveness": {}}}, "give exactly one of http, tcp, exec"),
        ({"probes": {"liveness": {"http": {"port": 1}, "tcp": {"port": 1}}}}, "not http and tcp"),
        ({"probes": {"liveness": {"exec": {"command": []}}}}, "too few items: at least 1"),
        ({"restart": {"policy": "always"}}, 'did you mean "Always"?'),
        ({"restart": {"backoff": {"initial": 60, "max": 5}}}, '"initial" is longer than "max"'),
        ({"replicas": 10**30}, "is too large: at most 1000"),
        ({"replicas": -1}, "-1 is too small"),
        ({"replicas": 1.5}, "must be a whole number, not 1.5"),
        ({"replicas": 2, "onePerNode": True}, 'give either "replicas" or "onePerNode", not both'),
        ({"dependsOn": [{"workload": "a"}, {"workload": "a"}]}, '"a" is depended on already'),
        ({"dependsOn": [{"workload": "web"}]}, "none of these could ever start: web → web"),
        ({"placement": {"role": "embedded"}}, '"embedded" is a type of node, not a role'),
        ({"placement": {"nodes": ["N1"]}}, '"n1" would do'),
        (
            {
                "onNodeLoss": {"action": "Relocate", "after": 40},
                "onIsolation": {"action": "Stop", "after": 30},
            },
            "make onNodeLoss.after longer",
        ),
        ({"network": {"mode": "host", "name": "x"}}, 'only with "mode: bridge"'),
        ({"network": {"hosts": {"a": "b"}}}, "is not an IPv4 or IPv6 address"),
        ({"containers": TWO}, '"a" is the name of another container of this workload already'),
        ({"containers": TWO[:1], "image": "x"}, 'with "containers", it belongs to one of them'),
        ({"containers": [{"name": "a"}]}, '"image" is missing'),
        ({"containers": []}, '"image" is missing (or "containers", for several)'),
        (
            {
                "initContainers": [
                    {"name": "i", "image": "x", "probes": {"liveness": {"tcp": {"port": 1}}}}
                ]
            },
            "spec.initContainers[0]: an init container cannot have probes",
        ),
    ],
)
def test_what_is_refused(spec: dict[str, Any], reason: str) -> None:
    found = problems(native(**spec))
    assert any(reason in p for p in found), found
    assert len(found) == 1


def test_all_problems_are_told_in_the_order_of_the_file() -> None:
    found = problems(native(replicas=-1, image="A", env={"A": 1}))
    assert [p.split(":")[1] for p in found] == [" spec.image", " spec.replicas", " spec.env.A"]


@pytest.mark.parametrize(
    "image",
    ["a", "a:1", "localhost/a:b", "localhost:5000/a", "docker.io/library/x_y.z-1:v1.2_3", "A.b/c"],
)
def test_names_of_images(image: str) -> None:
    assert one(native(image=image)).containers[0].image == image
