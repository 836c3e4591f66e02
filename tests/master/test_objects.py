from __future__ import annotations

from piccolo.master.objects import Objects


def test_groups_come_and_go_with_their_objects() -> None:
    objects = Objects()
    for key in ("topology", "node/a", "container/a/1", "container/a/2", "container/b/1"):
        objects.put(key, key.upper())
    objects.put("node/a", "new")
    assert objects.get("node/a") == "new"
    assert dict(objects.group("container/a/")) == {
        "container/a/1": "CONTAINER/A/1",
        "container/a/2": "CONTAINER/A/2",
    }
    assert dict(objects.group("")) == {"topology": "TOPOLOGY"}
    assert {key for key, _ in objects.below("container/")} == set(objects) - {"topology", "node/a"}
    assert [key for key, _ in objects.below("container/b/")] == ["container/b/1"]
    objects.remove("container/b/1")
    objects.remove("container/b/1")
    objects.remove("unknown/x/y")
    assert ("container/b/1" in objects, objects.get("container/b/1")) == (False, None)
    assert objects.below("container/b/") == objects.below("nothing/") == []


def test_asking_for_what_is_not_there_leaves_nothing_behind() -> None:
    objects = Objects()
    objects.put("secret/a", 1)
    objects.remove("secret/a")
    assert not objects.group("assignment/x/")
    assert not objects._groups
    assert not any(objects._below.values())
