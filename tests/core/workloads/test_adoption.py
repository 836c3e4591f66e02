"""What nodes hold beside what a backup says: the newer stays, in whichever order they come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from piccolo.core.model import Secret
from piccolo.core.workloads.adoption import BY, CAUSE, Adoption, Held, Known, adopt
from piccolo.core.workloads.containers import Container, SecretKey
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.core.workloads.instances import Instance, pod_hash
from piccolo.core.workloads.workload import Workload

BACKUP, RESTORE = 100, 200


def at(seconds: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def spec(image: str, *, secret: bool = False, **fields: object) -> Workload:
    env = {"X": SecretKey("db", "password")} if secret else {}
    found = Workload("web", (Container("main", image, secret_env=env),))
    return replace(found, **fields)  # type: ignore[arg-type]


def held(
    image: str,
    generation: int,
    seconds: float | None,
    *,
    index: int = 0,
    restarts: int = 0,
    secret: tuple[str, float] | None = None,
    **fields: object,
) -> Held:
    workload = spec(image, secret=secret is not None, **fields)
    values = {"db/password": secret[0]} if secret else {}
    times = {"db": at(secret[1])} if secret else {}
    hash_ = pod_hash(workload, values, restarts)
    changed = None if seconds is None else at(seconds)
    return Held(Instance(workload, index, generation, hash_, changed, times), values)


def declared(image: str, generation: int, seconds: float, **fields: object) -> Declared:
    found = Declared(spec(image), generation, at(0), at(seconds), "admin:me", "apply")
    return replace(found, **fields)  # type: ignore[arg-type]


def known(old: Declared | None = None, *assignments: Assignment, **fields: object) -> Known:
    found = Known(at(BACKUP), at(RESTORE), {"web": old} if old else {}, assignments=assignments)
    return replace(found, **fields)  # type: ignore[arg-type]


def then(before: Known, node: str, adoption: Adoption) -> Known:
    """What is known once it is written."""
    assignments = {(a.node_id, a.key): a for a in before.assignments}
    for a in adoption.retracted:
        del assignments[a.node_id, a.key]
    assignments |= {(a.node_id, a.key): a for a in adoption.assigned}
    history = {past.generation: past for past in before.history.get("web", ())}
    history |= {past.generation: past for past in adoption.past}
    return replace(
        before,
        declared={**before.declared, **adoption.declared},
        history={"web": [history[g] for g in sorted(history)]},
        assignments=tuple(assignments.values()),
        secrets={**before.secrets, **adoption.secrets},
        returned=before.returned | {node},
    )


def back(before: Known, node: str, *copies: Held) -> Known:
    return then(before, node, adopt(before, node, node, copies))


def on(node: str, generation: int, index: int = 0, restarts: int = 0) -> Assignment:
    return Assignment("web", index, node, generation, restarts)


def the(found: Known) -> Declared:
    return found.declared["web"]


def test_what_the_backup_does_not_know_is_declared_and_assigned_as_it_runs() -> None:
    found = back(known(), "n1", held("v3", 3, 150, restarts=2))
    assert the(found) == Declared(spec("v3"), 3, at(150), at(150), BY, CAUSE, restarts=2)
    assert found.assignments == (on("n1", 3, restarts=2),)


def test_what_was_deleted_before_the_backup_is_not_brought_back() -> None:
    found = adopt(known(), "n1", "n1", [held("v3", 3, 90)])
    assert (found.declared, found.assigned) == ({}, ())
    assert [note.reason for note in found.notes] == ["NotAdopted"]


def test_the_newer_generation_stays_and_the_older_one_goes_into_the_history() -> None:
    before = known(declared("v1", 1, 50), on("n1", 1))
    newer = back(before, "n1", held("v3", 3, 150))
    assert (the(newer).workload, the(newer).generation) == (spec("v3"), 3)
    assert [(p.generation, p.workload) for p in newer.history["web"]] == [(1, spec("v1"))]
    assert newer.assignments == (on("n1", 3),)
    older = back(newer, "n2", held("v2", 2, 120, index=1))
    assert the(older) == replace(the(newer), created_at=the(older).created_at)
    assert on("n2", 2, 1) in older.assignments, "it follows by the rollout"
    assert older.history["web"][-1] == Past(spec("v2"), 2, at(120), BY, CAUSE)


def test_what_was_asked_for_since_the_restore_stays_above_all_others() -> None:
    before = known(declared("wanted", 2, 250), on("n1", 1), history={"web": ()})
    found = back(before, "n1", held("lost", 4, 150))
    assert (the(found).workload, the(found).generation) == (spec("wanted"), 5)
    assert found.assignments == (on("n1", 4),)
    assert back(found, "n1", held("lost", 4, 150)).declared == found.declared


def test_a_number_that_had_another_content_is_not_used_again() -> None:
    """It was deleted and declared anew after the backup."""
    found = back(known(declared("v1", 5, 50), on("n1", 5)), "n1", held("fresh", 1, 150))
    assert (the(found).workload, the(found).generation) == (spec("fresh"), 6)
    assert found.assignments == (on("n1", 6),)


def test_the_same_content_needs_no_new_generation() -> None:
    found = back(known(declared("v1", 2, 250)), "n1", held("v1", 1, 150, restarts=3))
    assert (the(found).generation, the(found).restarts) == (2, 3)
    assert found.assignments == (on("n1", 2, restarts=3),)


def test_a_copy_that_another_node_has_told_of_is_not_run_twice() -> None:
    first = back(known(declared("v1", 1, 50), on("n1", 1)), "n2", held("v1", 1, 50))
    assert first.assignments == (on("n2", 1),), "it moved"
    assert back(first, "n1", held("v1", 1, 50)).assignments == (on("n2", 1),)
    newer = back(first, "n1", held("v2", 2, 150))
    assert newer.assignments == (on("n1", 2),)
    everywhere = known(replace(declared("v1", 1, 50), workload=spec("v1", one_per_node=True)))
    for node in ("n1", "n2"):
        everywhere = back(everywhere, node, held("v1", 1, 50, one_per_node=True))
    assert len(everywhere.assignments) == 2


def test_a_deletion_goes_on_unless_it_was_declared_anew() -> None:
    deleting = known(declared("v1", 1, 50, deleting_since=at(90)), on("n1", 1))
    assert the(back(deleting, "n1", held("v1", 1, 50))).deleting_since == at(90)
    assert the(back(deleting, "n1", held("v2", 2, 150))).deleting_since is None


def test_what_runs_was_launched_but_late_news_do_not_launch_it_again() -> None:
    idle = known(declared("v1", 1, 50, active=False))
    assert the(back(idle, "n1", held("v1", 1, 50))).active
    late = back(replace(idle, early=False), "n1", held("v1", 1, 50))
    assert (the(late).active, late.assignments) == (False, ())


def test_of_two_values_of_a_secret_the_newer_one_stays() -> None:
    stored = {"db": Secret("db", {"password": "one", "user": "u"}, at(0), at(50))}
    before = known(declared("v1", 1, 50), secrets=stored)
    for told, seconds, stays in (("two", 150, "two"), ("old", 40, "one"), ("one", 50, "one")):
        found = back(before, "n1", held("v1", 1, 50, secret=(told, seconds)))
        assert found.secrets["db"].data == {"password": stays, "user": "u"}
    none = back(replace(before, secrets={}), "n1", held("v1", 1, 50, secret=("two", 150)))
    assert none.secrets["db"] == Secret("db", {"password": "two"}, at(150), at(150))
    lacks = replace(before, secrets={"db": replace(stored["db"], data={"user": "u"})})
    assert back(lacks, "n1", held("v1", 1, 50, secret=("old", 40))).secrets["db"].data == {
        "password": "old",
        "user": "u",
    }
    since = replace(lacks, secrets={"db": Secret("db", {"user": "u"}, at(0), at(250))})
    assert back(since, "n1", held("v1", 1, 50, secret=("old", 40))).secrets == since.secrets


def test_nothing_shows_the_value_of_a_secret() -> None:
    one = held("v1", 1, 150, secret=("hunter2", 150))
    shown = repr((one, adopt(known(), "n1", "n1", [one]), known(secrets={})))
    assert "hunter2" not in shown


def test_an_instance_of_an_older_master_goes_by_its_generation() -> None:
    before = known(declared("v2", 2, 50), on("n1", 2))
    assert the(back(before, "n1", held("v3", 3, None))).workload == spec("v3")
    assert the(back(before, "n1", held("v1", 1, None))).workload == spec("v2")
    assert back(before, "n1", held("v2", 2, None)).declared == before.declared
    assert the(back(known(), "n1", held("v1", 1, None))).workload == spec("v1")


# ---- any history ----


@st.composite
def lives(draw: st.DrawFn) -> tuple[Known, dict[str, Held]]:
    """A workload changes again and again; at one point a backup is made, at others nodes go away,
    each with what was declared then. It may be deleted and declared anew in between."""
    versions: list[tuple[str, int, int]] = []  # image, generation, time
    generation = 0
    for seconds in sorted(draw(st.lists(st.integers(1, 190), min_size=1, max_size=6, unique=True))):
        generation = 1 if draw(st.integers(0, 4)) == 0 else generation + 1
        versions.append((draw(st.sampled_from(["a", "b", f"at{seconds}"])), generation, seconds))
    before = [v for v in versions if v[2] <= BACKUP]
    nodes = {
        f"n{n}": held(*draw(st.sampled_from(versions)), index=n, restarts=draw(st.integers(0, 2)))
        for n in range(draw(st.integers(1, 3)))
    }
    if not before:
        return known(), nodes
    image, number, seconds = before[-1]
    old = declared(image, number, seconds)
    if draw(st.booleans()):  # and somebody changed it since the restore
        old = declared("wanted", number + 1, RESTORE + 10)
    return known(old, *(on(n, number, int(n[1:])) for n in nodes)), nodes


@settings(max_examples=40, deadline=None)
@given(lives())
def test_whatever_happened_the_newest_stays_and_nothing_runs_otherwise(
    life: tuple[Known, dict[str, Held]],
) -> None:
    start, nodes = life
    newest = max((h.instance for h in nodes.values()), key=lambda i: i.changed_at or at(0))
    outcomes = []
    for order in permutations(nodes):
        found = start
        for node in order:
            before, found = found, back(found, node, nodes[node])
            again = adopt(found, node, node, [nodes[node]])
            assert (again.declared, again.past, again.assigned) == ({}, (), ()), "once is enough"
            if "web" in before.declared:
                assert the(found).generation >= the(before).generation
                assert the(found).changed_at >= the(before).changed_at
        outcomes.append(found)
    first, *others = (replace(d, generation=0, by="", cause="") for d in map(_the, outcomes))
    assert all(other == first for other in others), "in whichever order they came"
    found = outcomes[0]
    if "web" not in found.declared:
        assert (newest.changed_at or at(RESTORE)) <= at(BACKUP)
        return
    was = start.declared.get("web")
    if was is None or (newest.changed_at or at(0)) > was.changed_at:
        assert the(found).workload == newest.workload
    else:
        assert the(found).workload == was.workload
    generations = {p.generation: p.workload for p in found.history["web"]}
    generations[the(found).generation] = the(found).workload
    for a in found.assignments:
        mine = nodes[a.node_id].instance
        told = generations[a.generation]
        unknown = mine.changed_at is not None and mine.changed_at <= at(BACKUP)
        assert told in (mine.workload, the(found).workload) or unknown


def _the(found: Known) -> Declared:
    return the(found) if "web" in found.declared else declared("", 0, 0)
