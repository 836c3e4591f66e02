from __future__ import annotations

from piccolo.store.base import Condition, Entry
from piccolo.store.known import Known


def test_newer_news_counts() -> None:
    known = Known([Entry("a", b"1", 5)])
    assert not known.is_news("a", 4)
    assert not known.is_news("a", 5)
    assert known.is_news("a", 6)
    assert known.is_news("b", 1)
    assert known.condition("a") == Condition("a", 5)
    assert known.condition("b") == Condition("b", 0)
    assert known.held() == ("a",)


def test_a_deleted_key_is_remembered_until_all_older_news_was_told() -> None:
    known = Known([Entry("a", b"1", 5)])
    known.note("a", None, 9)
    assert known.has("a", None)
    assert known.held() == ()
    assert known.condition("a") == Condition("a", 0)
    known.told(8)
    assert not known.is_news("a", 7)
    known.told(9)
    assert known._facts == {}


def test_a_key_deleted_twice_is_remembered_for_the_second_time() -> None:
    known = Known([])
    known.note("a", None, 5)
    known.note("a", b"", 6)
    known.note("a", None, 9)
    known.told(6)
    assert not known.is_news("a", 8)
    known.told(9)
    assert known._facts == {}


def test_what_is_in_doubt_is_not_what_the_engine_surely_has() -> None:
    known = Known([Entry("a", b"1", 5)])
    assert known.has("a", b"1")
    assert not known.has("a", b"2")
    assert known.has("b", None)
    for key in ("a", "b"):
        known.doubt(key)
    assert not known.has("a", b"1")
    assert not known.has("b", None)
    assert known.condition("a") == Condition("a", 5)
    known.note("a", b"1", 5)
    assert known.has("a", b"1")
