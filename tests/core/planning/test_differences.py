"""What changed, as people read it."""

from __future__ import annotations

import base64
from dataclasses import fields, replace

import pytest

from piccolo.core.planning.differences import Difference, differences
from piccolo.core.workloads.containers import (
    Container,
    File,
    HttpCheck,
    Mount,
    MountKind,
    Port,
    Probe,
    Probes,
    Resources,
    SecretKey,
)
from piccolo.core.workloads.workload import (
    Dependency,
    DependencyCondition,
    Placement,
    Update,
    UpdateStrategy,
    Workload,
)
from tests.core.workloads.filled import filled

MAIN = Container("main", "i:1", env={"A": "1"}, ports=(Port(80, 8080),))
WEB = Workload("web", (MAIN,))


def lines(before: object | None, after: object | None) -> list[str]:
    return [f"{d.path}: {d.before or '-'} → {d.after or '-'}" for d in differences(before, after)]


def container(**fields: object) -> list[str]:
    """What changes when the container does."""
    return lines(WEB, replace(WEB, containers=(replace(MAIN, **fields),)))  # type: ignore[arg-type]


def test_nothing() -> None:
    assert differences(WEB, WEB) == ()
    assert differences(None, None) == ()
    assert differences(WEB, replace(WEB, labels={})) == ()


def test_values() -> None:
    assert differences(WEB, replace(WEB, replicas=3)) == (Difference("replicas", "1", "3"),)
    assert container(image="i:2") == ['containers[main].image: "i:1" → "i:2"']
    assert lines(WEB, replace(WEB, stop_grace=2.5)) == ["stopGrace: 10.0 → 2.5"]
    assert lines(WEB, replace(WEB, one_per_node=True)) == ["onePerNode: false → true"]
    assert container(command=("a", "ü")) == ['containers[main].command: [] → ["a","ü"]']


def test_what_is_at_its_default_is_shown_where_it_changes() -> None:
    update = Update(UpdateStrategy.RECREATE, max_unavailable=2)
    found = [
        'update.strategy: "Rolling" → "Recreate"',
        "update.maxUnavailable: 1 → 2",
    ]
    assert lines(WEB, replace(WEB, update=update)) == found
    back = ['update.strategy: "Recreate" → "Rolling"', "update.maxUnavailable: 2 → 1"]
    assert lines(replace(WEB, update=update), WEB) == back
    assert container(resources=Resources(memory=64)) == [
        "containers[main].resources.memory: 0 → 64"
    ]


def test_mappings() -> None:
    assert container(env={"A": "2", "B": ""}) == [
        'containers[main].env.A: "1" → "2"',
        'containers[main].env.B: - → ""',
    ]
    assert container(env={}) == ['containers[main].env.A: "1" → -']
    labels = {"app.kubernetes.io/name": "x"}
    assert lines(WEB, replace(WEB, labels=labels)) == [
        'labels[app.kubernetes.io/name]: - → "x"',
    ]


def test_secrets_are_references() -> None:
    assert container(secret_env={"PW": SecretKey("db", "password")}) == [
        'containers[main].secretEnv.PW.secret: - → "db"',
        'containers[main].secretEnv.PW.key: - → "password"',
    ]


def test_things_are_found_by_their_names() -> None:
    one, two = Container("one", "i:1"), Container("two", "i:2")
    before, after = replace(WEB, containers=(one, two)), replace(WEB, containers=(two, MAIN))
    assert lines(before, after) == [
        'containers[one].name: "one" → -',
        'containers[one].image: "i:1" → -',
        'containers[main].name: - → "main"',
        'containers[main].image: - → "i:1"',
        'containers[main].env.A: - → "1"',
        "containers[main].ports[0].containerPort: - → 80",
        "containers[main].ports[0].hostPort: - → 8080",
    ]
    turned = replace(WEB, containers=(two, one))
    assert lines(before, turned) == ['containers: ["one","two"] → ["two","one"]']
    mounts = (Mount("/a", MountKind.TMPFS), Mount("/b", MountKind.TMPFS))
    before = replace(WEB, containers=(replace(MAIN, mounts=mounts),))
    wider = (mounts[0], replace(mounts[1], size=5))
    after = replace(WEB, containers=(replace(MAIN, mounts=wider),))
    assert lines(before, after) == ["containers[main].mounts[/b].size: 0 → 5"]
    needs = (Dependency("db"),)
    healthy = (Dependency("db", DependencyCondition.HEALTHY),)
    assert lines(replace(WEB, depends_on=needs), replace(WEB, depends_on=healthy)) == [
        'dependsOn[db].condition: "running" → "healthy"'
    ]


def test_things_without_names_are_counted() -> None:
    assert container(ports=(Port(81, 8080), Port(90))) == [
        "containers[main].ports[0].containerPort: 80 → 81",
        "containers[main].ports[1].containerPort: - → 90",
    ]
    twice = (Mount("/a", MountKind.TMPFS), Mount("/a", MountKind.VOLUME, "v"))
    assert container(mounts=twice)[:2] == [
        'containers[main].mounts[0].path: - → "/a"',
        'containers[main].mounts[0].kind: - → "tmpfs"',
    ]


def test_what_may_be_there_or_not() -> None:
    probes = Probes(liveness=Probe(http=HttpCheck(80), interval=5.0))
    assert container(probes=probes) == [
        "containers[main].probes.liveness.http.port: - → 80",
        "containers[main].probes.liveness.interval: - → 5.0",
    ]
    with_it = replace(WEB, containers=(replace(MAIN, probes=probes),))
    assert lines(with_it, WEB)[0] == "containers[main].probes.liveness.http.port: 80 → -"
    bare = Probes(liveness=Probe())
    assert container(probes=bare) == ["containers[main].probes.liveness: - → {}"]
    assert lines(WEB, replace(WEB, placement=Placement(("a", "b")))) == [
        'placement.nodes: [] → ["a","b"]'
    ]


def test_a_workload_that_comes_or_goes() -> None:
    assert lines(None, WEB)[:3] == [
        'name: - → "web"',
        'containers[main].name: - → "main"',
        'containers[main].image: - → "i:1"',
    ]
    assert [(d.path, d.after) for d in differences(WEB, None)] == [
        (d.path, d.before) for d in differences(None, WEB)
    ]


def test_files_are_told_apart_without_being_shown() -> None:
    short, long = File("/a", "hello\n"), File("/a", "x" * 411 + "\n")
    assert lines(file(short), file(long)) == [
        'containers[main].files[/a].content: "hello\\n" → "412 bytes, sha256 0a91d61efb62…"'
    ]
    other = File("/a", "y" * 411 + "\n")
    (found,) = differences(file(long), file(other))
    assert found.before != found.after
    data = base64.b64encode(bytes(300)).decode()
    (found,) = differences(file(short), file(File("/a", data)))
    assert found.after.startswith('"400 bytes, ')
    assert '"300 bytes, ' in lines(file(short), file(File("/a", data, base64=True)))[0]
    wide = File("/a", "ü" * 100)
    assert '"200 bytes, ' in lines(file(short), file(wide))[0]


def file(one: File) -> Workload:
    return replace(WEB, containers=(replace(MAIN, files=(one,)),))


def test_long_values_are_cut_to_what_tells_them_apart() -> None:
    (found,) = differences(
        replace(WEB, labels={"a": "x" * 500 + "1"}), replace(WEB, labels={"a": "x" * 500 + "2"})
    )
    assert found.before != found.after
    assert len(found.before) < 130
    assert found.before.startswith('"xxx')
    assert "(503 characters, sha256 " in found.before


@pytest.mark.parametrize("name", [f.name for f in fields(Workload)])
def test_every_field_is_seen(name: str) -> None:
    after = replace(WEB, **{name: getattr(filled(Workload), name)})
    found = differences(WEB, after)
    assert all(d.path and d.before != d.after for d in found)
    assert found
    back = {(d.path, d.after, d.before) for d in differences(after, WEB)}
    assert back == {(d.path, d.before, d.after) for d in found}
