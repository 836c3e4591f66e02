"""What agents may have, and who is told when they have less."""

from __future__ import annotations

from piccolo.core.workloads.declared import Assignment
from piccolo.master.sessions import Sessions
from piccolo.master.workloads.desired_feed import Feed, digest_of
from piccolo.master.workloads.holdings import Holdings
from piccolo.master.workloads.instance_specs import Spec
from tests.core.planning.planned import workload


def spec(key: str, digest: int) -> Spec:
    return Spec(key, workload(key.rpartition(".")[0]), b"", {}, digest)


def test_what_was_assigned_may_be_there_until_the_agent_says_otherwise() -> None:
    holdings, freed = Holdings(), list[int]()
    holdings.freed = lambda: freed.append(1)
    assert holdings.with_these([Assignment("web", 0, "n1", 1)]) == [("n1", "web.0")]
    assert holdings.with_these([]) == [("n1", "web.0")]
    holdings.has("n1", {"web.0": 1, "db.0": 2})
    assert not freed
    holdings.has("n1", {"db.0": 2})
    assert freed == [1]
    assert holdings.with_these([]) == [("n1", "db.0")]


def test_lost_is_only_what_the_agent_said_it_has_not_got() -> None:
    holdings, untold = Holdings(), [Assignment("web", 0, "n1", 1), Assignment("web", 1, "n1", 1)]
    assert holdings.lost(untold) == set(), "it was not heard of"
    holdings.has("n1", {"web.0"})
    assert holdings.lost(untold) == {("n1", "web.1")}
    holdings.with_these(untold)
    assert holdings.lost(untold) == {("n1", "web.1")}, "asking does not make it so"
    holdings.has("n1", {"web.0", "web.1"})
    assert holdings.lost(untold) == set()


def test_an_agent_may_have_what_it_was_told_and_what_it_was_told_to_end() -> None:
    feed = Feed(Sessions(1).open("n1", "run-1", "here"), {"old.0": 5})
    feed.tell({"new.0": spec("new.0", 6)}, {}, 1.0)
    assert feed.possible == {"old.0", "new.0"}
    feed.answered(0, "the disk is full")
    assert feed.possible == {"old.0", "new.0"}, "it does not say what it has"
    feed.beat(digest_of({"old.0": 5}), 2.0)
    assert feed.possible == {"old.0"}, "it took over nothing"
    feed.tell({"new.0": spec("new.0", 6)}, {}, 2.5)
    feed.answered(digest_of({"old.0": 5}), "the disk is full")
    assert feed.possible == {"old.0"}
    feed.beat(digest_of({"old.0": 5}), 2.8)
    feed.tell({"new.0": spec("new.0", 6)}, {}, 3.0)
    feed.answered(6, "")
    assert feed.possible == {"new.0"}
