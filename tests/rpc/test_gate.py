"""Who may be inside, and who has to go: the rules, without sockets."""

from __future__ import annotations

import resource

import pytest

from piccolo.rpc.gate import Bucket, Connections, Crowd, Limits, descriptors

SMALL = Limits(known=4, per_identity=2, anonymous=4, anonymous_per_source=3, anonymous_patience=2)


class One:
    def __init__(self, *, waits: bool = False) -> None:
        self.gone = False
        self.waits = waits

    def dismiss(self, reason: str) -> None:
        self.gone = True

    def finish(self, reason: str) -> None:
        raise AssertionError("nobody is asked")


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = Bucket(rate=2, burst=3)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5) for _ in range(2)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_a_crowd_knows_its_oldest_and_its_largest_party() -> None:
    crowd: Crowd[str] = Crowd()
    for party, member in (("a", "1"), ("b", "2"), ("b", "3")):
        crowd.add(party, member, float(member))
    assert (len(crowd), crowd.of("b"), crowd.of("c")) == (3, 2, 0)
    assert crowd.largest() == "b"
    assert crowd.oldest("b") == ("2", 2.0)
    assert crowd.remove("b", "2")
    assert not crowd.remove("b", "2")
    assert not crowd.remove("c", "2")
    assert (sorted(crowd), len(crowd)) == (["1", "3"], 2)
    assert crowd.all_largest() == ["a", "b"]
    crowd.add("a", "4", 4.0)
    assert (crowd.largest(), list(crowd.members("a"))) == ("a", [("1", 1.0), ("4", 4.0)])
    assert all(crowd.remove("a", member) for member in "14")
    assert crowd.all_largest() == ["b"]


def test_the_newest_connections_of_an_identity_stay() -> None:
    inside, members = Connections(SMALL), [One() for _ in range(3)]
    assert all(inside.enter(member, "s", "id", 0.0) for member in members)
    assert [member.gone for member in members] == [True, False, False]


def test_when_it_is_full_the_identity_with_the_most_makes_room() -> None:
    inside, members = Connections(SMALL), [One() for _ in range(6)]
    for member, identity in zip(members, "aabcde", strict=True):
        entered = inside.enter(member, "s", identity, 0.0)
        assert entered == (identity != "e")  # now all have one
    assert [member.gone for member in members] == [True, *[False] * 5]


def test_a_source_without_certificates_replaces_its_own_after_a_while() -> None:
    inside, members = Connections(SMALL), [One() for _ in range(3)]
    assert all(inside.enter(member, "s", "", 0.0) for member in members)
    assert not inside.enter(One(), "s", "", 1.9)
    assert inside.enter(One(), "s", "", 2.0)
    assert [member.gone for member in members] == [True, False, False]
    inside.leave(members[1], "s", "")
    assert inside.enter(One(), "s", "", 2.0)


def test_who_waits_for_an_answer_is_not_sent_away_shortly_before_it() -> None:
    inside, waiting, idle = Connections(SMALL), One(waits=True), One()
    members = [waiting, One(waits=True), idle, One(waits=True)]
    for member, source in zip(members, "abcd", strict=True):
        assert inside.enter(member, source, "", 0.0)
    assert inside.enter(One(waits=True), "e", "", 3.0)
    assert [member.gone for member in members] == [False, False, True, False]
    assert not inside.enter(One(), "f", "", 4.0)  # the one that came last has its time
    assert not inside.enter(One(), "f", "", 9.0)  # now all of them wait
    waiting.waits = False
    assert inside.enter(One(), "f", "", 9.0)
    assert waiting.gone


def test_who_waits_makes_room_all_the_same_if_its_source_has_more() -> None:
    inside, members = Connections(SMALL), [One(waits=True) for _ in range(4)]
    for member, source in zip(members, "aaab", strict=True):
        assert inside.enter(member, source, "", 0.0)
    assert inside.enter(One(), "c", "", 0.0)
    assert [member.gone for member in members] == [True, False, False, False]


def test_a_source_that_has_less_takes_the_place_of_one_that_has_more() -> None:
    inside, members = Connections(SMALL), [One() for _ in range(4)]
    for member, source in zip(members, "aaab", strict=True):
        assert inside.enter(member, source, "", 0.0)
    assert inside.enter(One(), "c", "", 0.0)
    assert [member.gone for member in members] == [True, False, False, False]


def test_streams_fit_into_the_window_of_their_connection() -> None:
    limits = Limits()
    assert limits.streams * limits.stream_window <= limits.window
    assert limits.anonymous_streams * limits.stream_window <= limits.anonymous_window
    assert 2 * limits.stream_window + limits.anonymous_message <= 2 * limits.anonymous_window


@pytest.mark.parametrize("room", [256, 1024, 4096, 100_000])
def test_limits_stay_within_the_descriptors_that_there_are(room: int) -> None:
    limits = Limits().within(room)
    assert limits.descriptors <= max(room, 256)
    assert min(limits.lobby_per_source, limits.handshakes, limits.anonymous, limits.known) > 0
    if room > Limits().descriptors:
        assert limits == Limits()


def test_the_soft_limit_of_descriptors_is_raised_as_far_as_it_may() -> None:
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        assert descriptors(600) == 600
        assert descriptors(500) == 600
        assert descriptors(hard + 1) == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
