"""What is asked for: it can be kept, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piccolo.core.model import NodeType
from piccolo.core.workloads.containers import (
    Container,
    HttpCheck,
    Port,
    Probe,
    Probes,
    Protocol,
    SecretKey,
)
from piccolo.core.workloads.dependencies import find_cycles
from piccolo.core.workloads.workload import (
    Action,
    ActionKind,
    Isolation,
    NodeLoss,
    OnIsolation,
    OnNodeLoss,
    Placement,
    Restart,
    RestartPolicy,
    Workload,
)
from piccolo.store.codec import decode, encode

PROBE = Probe(http=HttpCheck(80, headers={"A": "b"}), interval=2.5)
RICH = Workload(
    name="web",
    containers=(
        Container(
            "web",
            "nginx:1",
            env={"A": "1"},
            secret_env={"B": SecretKey("s", "k")},
            ports=(Port(80, 8080, Protocol.UDP),),
            probes=Probes(readiness=PROBE),
        ),
    ),
    restart=Restart(RestartPolicy.NEVER),
    placement=Placement(("a", "b"), {"zone": "front"}, NodeType.CLOUD),
)


@pytest.mark.parametrize("value", [RICH, Action("a", ActionKind.LAUNCH, "p")])
def test_what_the_store_writes_it_reads(value: object) -> None:
    assert decode(type(value), encode(value), "k") == value


def test_whether_it_can_run_twice() -> None:
    relocated = replace(RICH, on_node_loss=NodeLoss(OnNodeLoss.RELOCATE, after=60))
    assert not RICH.twice
    assert relocated.twice
    stopped = replace(relocated, on_isolation=Isolation(OnIsolation.STOP, after=30))
    assert not stopped.twice
    assert replace(stopped, stop_grace=30).twice
    assert not replace(stopped, stop_grace=29).twice


def test_whether_it_is_probed() -> None:
    assert RICH.probed
    assert not replace(RICH, containers=(Container("a", "b"),)).probed


def test_cycles() -> None:
    assert find_cycles({}) == []
    assert find_cycles({"a": ["b", "x"], "b": ["c"], "c": []}) == []
    assert find_cycles({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == []
    assert find_cycles({"a": ["a"]}) == [("a",)]
    assert find_cycles({"z": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}) == [("a", "b", "c")]


def test_many_cycles_and_long_ones() -> None:
    dense = {str(i): [str(j) for j in range(300)] for i in range(300)}
    assert len(find_cycles(dense)) == 10
    long = {str(i): [str(i + 1)] for i in range(50_000)} | {"50000": ["0"]}
    assert len(find_cycles(long)[0]) == 50_001


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=3), max_size=6
    )
)
def test_without_cycles_there_is_an_order(graph: dict[str, list[str]]) -> None:
    waiting = dict(graph)
    while ready := [n for n, needed in waiting.items() if not set(needed) & waiting.keys()]:
        for name in ready:
            del waiting[name]
    cycles = find_cycles(graph)
    assert bool(cycles) == bool(waiting)
    for cycle in cycles:
        assert all(b in graph[a] for a, b in zip(cycle, (*cycle[1:], cycle[0]), strict=True))
