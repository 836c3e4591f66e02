"""Reports: both sides end up with the same containers and the same digest."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piccolo.core.model import Container
from piccolo.core.report import Delta, Report
from piccolo.core.workloads.instances import InstanceStatus, Phase

quick = settings(derandomize=True, deadline=None, max_examples=50)

words = st.text(max_size=3)
NOW = datetime(2025, 1, 1, tzinfo=UTC)
times = st.none() | st.integers(0, 10**6).map(lambda ms: NOW + timedelta(milliseconds=ms))
containers = st.builds(
    Container,
    id=st.sampled_from("abcdefgh"),  # few, so that the same ones come again
    name=words,
    image=words,
    state=st.sampled_from(["created", "running", "exited"]),
    health=words,
    exit_code=st.integers(-(2**31), 2**31 - 1),
    created_at=times,
    started_at=times,
    finished_at=times,
    restarts=st.integers(0, 2**32 - 1),
    labels=st.dictionaries(words, words, max_size=2),
    pod=words,
)
nodes = st.lists(containers, max_size=5, unique_by=lambda c: c.id)
ids = st.sets(st.sampled_from("abcdefgh"))


def same(one: Report, other: Report) -> bool:
    return one.digest == other.digest and dict(one.containers) == dict(other.containers)


@quick
@given(nodes, nodes)
def test_applying_the_difference_makes_the_report_equal(
    before: list[Container], seen: list[Container]
) -> None:
    report = Report(before)
    delta = report.difference(seen)
    report.apply(delta)
    assert same(report, Report(seen))
    assert not report.difference(seen)
    report.apply(delta)  # a repeated one does no harm
    assert same(report, Report(seen))


@quick
@given(nodes, nodes)
def test_a_difference_holds_only_what_differs(
    before: list[Container], seen: list[Container]
) -> None:
    delta = Report(before).difference(seen)
    old, new = {c.id: c for c in before}, {c.id: c for c in seen}
    assert {c.id for c in delta.changed} == {i for i in new if old.get(i) != new[i]}
    assert set(delta.removed) == old.keys() - new.keys()
    assert bool(delta) is (old != new)


@quick
@given(nodes, nodes, ids)
def test_a_difference_of_some_concerns_only_these(
    before: list[Container], seen: list[Container], looked_at: set[str]
) -> None:
    report = Report(before)
    found = [c for c in seen if c.id in looked_at]
    report.apply(report.difference_of(sorted(looked_at), found))
    untouched = [c for c in before if c.id not in looked_at]
    assert same(report, Report([*untouched, *found]))


@quick
@given(nodes, st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_order(seen: list[Container], chance: Random) -> None:
    shuffled = list(seen)
    chance.shuffle(shuffled)
    step_by_step = Report()
    for container in shuffled:
        step_by_step.apply(Delta(changed=(replace(container, state="earlier"),)))
    for container in seen:
        step_by_step.apply(Delta(changed=(container,)))
    assert same(step_by_step, Report(seen))


@quick
@given(st.lists(nodes, min_size=1, max_size=4), st.integers(0, 3))
def test_a_lost_delta_shows_in_the_digest(story: list[list[Container]], lost: int) -> None:
    """Unless the later ones happen to make good for it."""
    agent, master = Report(), Report()
    for number, seen in enumerate(story):
        delta = agent.difference(seen)
        agent.apply(delta)
        if number != lost:
            master.apply(delta)
    assert (agent.digest == master.digest) is (dict(agent.containers) == dict(master.containers))


def test_nothing_has_the_digest_zero() -> None:
    report = Report([Container("a", "web")])
    assert report.digest != 0
    report.apply(Delta(removed=("a", "a", "unknown")))
    assert report.digest == 0
    assert not report.containers


SAMPLE = Container("a", "web", "img", "running", "healthy", 0, NOW, NOW, None, 1, {"k": "v"}, "p")
CHANGED = Container(
    "b",
    "api",
    "img2",
    "exited",
    "unhealthy",
    -1,
    NOW + timedelta(milliseconds=1),
    None,
    NOW,
    2,
    {"k": "w"},
    "q",
)


@pytest.mark.parametrize("field", [f.name for f in fields(Container)])
def test_every_field_counts(field: str) -> None:
    changed = replace(SAMPLE, **{field: getattr(CHANGED, field)})
    assert changed != SAMPLE
    assert Report([changed]).digest != Report([SAMPLE]).digest


def test_the_digest_is_the_same_everywhere() -> None:
    """Agents and masters of several versions compare it. Were it to change, each heartbeat between
    an old one and a new one would cost a snapshot."""
    assert Report([SAMPLE, CHANGED]).digest == 5197712986430733768


RUNNING = InstanceStatus("web", 0, 1, Phase.RUNNING, True, "Well", "runs", 1, 0, NOW, "aa")
OTHER = InstanceStatus("db", 1, 2, Phase.FAILED, False, "Ended", "no", 2, 1, None, "bb")


@pytest.mark.parametrize("field", [f.name for f in fields(InstanceStatus)])
def test_every_field_of_an_instance_counts(field: str) -> None:
    changed = replace(RUNNING, **{field: getattr(OTHER, field)})
    assert changed != RUNNING
    assert Report(instances=[changed]).digest != Report(instances=[RUNNING]).digest


def test_instances_are_kept_in_step_beside_containers() -> None:
    agent, master = Report([SAMPLE]), Report()
    agent.apply(agent.instance_difference([RUNNING, OTHER]))
    assert set(agent.instances) == {"web.0", "db.1"}
    master.apply(Delta(changed=(SAMPLE,), instances=(RUNNING,)))
    assert master.digest != agent.digest
    master.apply(Delta(instances=(OTHER,)))
    assert master.digest == agent.digest
    delta = agent.instance_difference([replace(RUNNING, ready=False)])
    assert (delta.removed_instances, delta.changed, delta.removed) == (("db.1",), (), ())
    assert [s.ready for s in delta.instances] == [False]
    agent.apply(delta)
    master.apply(delta)
    assert master.digest == agent.digest != 0
    master.apply(Delta(removed=("a",), removed_instances=("web.0", "never")))
    assert master.digest == 0
