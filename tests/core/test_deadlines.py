from __future__ import annotations

import random

from piccolo.core.deadlines import Deadlines


def test_what_is_due_is_found_once_and_in_order() -> None:
    d = Deadlines()
    for key, at in (("late", 3.0), ("soon", 1.0), ("next", 2.0)):
        d.set(key, at)
    assert (d.next(), d.due(0.9)) == (1.0, [])
    assert d.due(2.0) == ["soon", "next"]
    assert (d.next(), d.due(2.0)) == (3.0, [])


def test_a_key_has_one_moment() -> None:
    d = Deadlines()
    d.set("a", 1.0)
    d.set("a", 5.0)  # put off
    d.set("b", 9.0)
    d.set("b", 2.0)  # brought forward
    d.set("c", 1.0)
    d.drop("c")
    assert (d.next(), d.due(3.0), d.next(), d.due(9.0)) == (2.0, ["b"], 5.0, ["a"])
    assert d.next() is None


def test_it_is_as_if_all_were_looked_at() -> None:
    chance, d = random.Random(1), Deadlines()
    moments: dict[str, float] = {}
    for now in range(2000):
        key = str(chance.randrange(20))
        moments[key] = now + chance.randrange(30)
        d.set(key, moments[key])
        assert d.next() == min(moments.values())
        due = {key for key, at in moments.items() if at <= now}
        assert set(d.due(now)) == due
        moments = {key: at for key, at in moments.items() if key not in due}
    assert len(d._queue) < 200, "moments that hold no longer do not pile up"
