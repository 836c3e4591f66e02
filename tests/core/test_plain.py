"""Values as JSON and back: what master and agent keep and tell each other is what it was."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, datetime
from types import MappingProxyType

import pytest

from piccolo.core import plain
from piccolo.core.errors import InvalidSpec
from piccolo.core.workloads.containers import Container, Probe, Resources, TcpCheck
from piccolo.core.workloads.declared import Declared
from piccolo.core.workloads.instances import Happening, Instance, InstanceStatus, Phase
from piccolo.core.workloads.workload import (
    Dependency,
    DependencyCondition,
    Isolation,
    OnIsolation,
    Placement,
    Workload,
)
from tests.core.workloads.filled import NOON, filled


@pytest.mark.parametrize("cls", [Workload, Instance, InstanceStatus, Happening, Declared])
def test_every_field_comes_back(cls: type) -> None:
    value = filled(cls)
    data = plain.encode(value)
    assert plain.decode(cls, data, "it") == value
    assert json.loads(data).keys() == {f.name for f in fields(cls)}, "nothing is at its default"


@pytest.mark.parametrize("cls", [Workload, InstanceStatus, Declared])
def test_each_field_alone_comes_back(cls: type) -> None:
    full = filled(cls)
    needed = {
        f.name: getattr(full, f.name)
        for f in fields(cls)
        if f.default is MISSING and f.default_factory is MISSING
    }
    for f in fields(cls):
        value = cls(**(needed | {f.name: getattr(full, f.name)}))
        assert plain.decode(cls, plain.encode(value), "it") == value
        assert f.name in json.loads(plain.encode(value))


def test_types_come_back_too() -> None:
    full = plain.decode(Workload, plain.encode(filled(Workload)), "it")
    assert isinstance(full.containers, tuple)
    assert isinstance(full.containers[0].probes.startup, Probe)
    assert isinstance(full.on_isolation.action, OnIsolation)
    assert isinstance(full.depends_on[1].condition, DependencyCondition)
    assert type(plain.decode(Resources, b'{"cpu": 2}', "it").cpu) is float


SMALL = Workload("web", (Container("web", "nginx:1"),))


def test_defaults_are_left_out() -> None:
    assert plain.to_plain(SMALL) == {
        "name": "web",
        "containers": [{"name": "web", "image": "nginx:1"}],
    }
    assert plain.decode(Workload, plain.encode(SMALL), "it") == SMALL


def test_what_has_no_default_is_there_even_when_empty() -> None:
    empty = Workload("", ())
    assert json.loads(plain.encode(empty)) == {"name": "", "containers": []}
    assert plain.decode(Workload, plain.encode(empty), "it") == empty


@dataclass(frozen=True)
class _Odd:
    limit: int | None = 3
    values: tuple[int, ...] = field(default=(1, 2))


def test_empty_where_the_default_is_not() -> None:
    assert plain.encode(_Odd(None, ())) == b'{"limit":null,"values":[]}'
    assert plain.decode(_Odd, plain.encode(_Odd(None, ())), "it") == _Odd(None, ())
    assert plain.decode(_Odd, b"{}", "it") == _Odd()


def test_the_same_value_gives_the_same_bytes() -> None:
    one = replace(SMALL, labels={"a": "1", "b": "2"})
    other = replace(SMALL, labels=MappingProxyType({"b": "2", "a": "1"}))
    assert plain.encode(one) == plain.encode(other)
    again = plain.decode(Workload, plain.encode(filled(Workload)), "it")
    assert plain.encode(again) == plain.encode(filled(Workload))


def test_what_a_newer_one_adds_is_ignored() -> None:
    text = b'{"name":"w","containers":[{"name":"c","image":"i","gpu":{"a":[1]}}],"colour":"red"}'
    assert plain.decode(Workload, text, "it") == Workload("w", (Container("c", "i"),))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b'{"name":1,"containers":[]}', "name: 1 is not of type str"),
        (b'{"name":null,"containers":[]}', "name: nothing is not of type str"),
        (b'{"containers":[]}', "'name'"),
        (b'{"name":"w","containers":{}}', "containers: a mapping"),
        (b'{"name":"w","containers":"abc"}', 'containers: "abc" is not of type list'),
        (b'{"name":"w","containers":[["a"]]}', "containers: a list is not of type dict"),
        (b'{"name":"w","containers":[],"replicas":1.5}', "replicas: 1.5 is not of type int"),
        (b'{"name":"w","containers":[],"replicas":true}', "replicas: true is not of type int"),
        (b'{"name":"w","containers":[],"replicas":"1"}', "replicas: "),
        (b'{"name":"w","containers":[],"held":1}', "held: 1 is not of type bool"),
        (b'{"name":"w","containers":[],"stop_grace":"1"}', "stop_grace: "),
        (b'{"name":"w","containers":[],"stop_grace":true}', "stop_grace: true"),
        (b'{"name":"w","containers":[],"stop_grace":NaN}', "stop_grace: a number"),
        (b'{"name":"w","containers":[],"stop_grace":1e999}', "stop_grace: a number"),
        (b'{"name":"w","containers":[],"stop_grace":1' + b"0" * 400 + b"}", "stop_grace: a number"),
        (b'{"name":"w","containers":[],"replicas":1' + b"0" * 5000 + b"}", "integer"),
        (b'{"name":"w","containers":[],"labels":["a"]}', "labels: a list is not of type dict"),
        (b'{"name":"w","containers":[],"labels":{"a":1}}', "labels: 1 is not of type str"),
        (b'{"name":"w","containers":[],"restart":{"policy":"Maybe"}}', 'policy: "Maybe" is no Res'),
        (b'{"name":"w","containers":[],"restart":{"policy":[]}}', "policy: a list is no Restart"),
        (b'{"name":"w","containers":[],"restart":null}', "restart: nothing is not of type dict"),
        (b"[]", "a list is not of type dict"),
        (b"null", "nothing is not of type dict"),
        (b'"w"', '"w" is not of type dict'),
        (b"", "Expecting value"),
        (b'{"name":"w"', "delimiter"),
        (b'\xff\xfe{"name"', "decode"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
    ],
)
def test_what_is_none_is_refused_by_name(text: bytes, named: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        plain.decode(Workload, text, "the thing")
    message = str(refused.value)
    assert message.startswith("the thing is no Workload: ")
    assert named in message
    assert len(message) < 300


def test_times() -> None:
    status = InstanceStatus("w", 0, 1, since=NOON)
    again = plain.decode(InstanceStatus, plain.encode(status), "it")
    assert again.since == NOON
    assert plain.decode(
        InstanceStatus,
        b'{"workload":"w","index":0,"generation":1,"since":"2026-01-01T00:00Z"}',
        "it",
    ).since == datetime(2026, 1, 1, tzinfo=UTC)
    for wrong in (b'"yesterday"', b"5", b"[]", b'"2026-01-01:00"', b'"2026-01-01T00:00"'):
        with pytest.raises(InvalidSpec, match="since: "):
            plain.decode(
                InstanceStatus,
                b'{"workload":"w","index":0,"generation":1,"since":' + wrong + b"}",
                "it",
            )


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_not_written(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        plain.encode(Resources(cpu=number))


def test_random_bytes_never_do_worse_than_be_refused() -> None:
    good = plain.encode(filled(Instance))
    for at in range(0, len(good), len(good) // 20):
        for broken in (good[:at], good[:at] + b"0" + good[at + 1 :], good[:at] + good[at + 3 :]):
            try:
                found = plain.decode(Instance, broken, "it")
            except InvalidSpec:
                continue
            assert plain.decode(Instance, plain.encode(found), "it") == found


def test_a_few_values_by_hand() -> None:
    assert plain.to_plain(Placement(nodes=("a",), labels={"k": "v"})) == {
        "nodes": ["a"],
        "labels": {"k": "v"},
    }
    assert plain.to_plain(Isolation(OnIsolation.STOP)) == {"action": "Stop"}
    assert plain.to_plain(Dependency("db", DependencyCondition.HEALTHY)) == {
        "workload": "db",
        "condition": "healthy",
    }
    assert plain.to_plain(Probe(tcp=TcpCheck(1))) == {"tcp": {"port": 1}}
    assert plain.to_plain(InstanceStatus("w", 0, 1, Phase.ERROR))["phase"] == "Error"
