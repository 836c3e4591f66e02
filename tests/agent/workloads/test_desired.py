"""The desired state on disk: taken over wholly or not at all, whatever happens."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from piccolo.agent.workloads import desired
from piccolo.agent.workloads.desired import Change, Desired, Spec
from piccolo.core.errors import Conflict, InvalidSpec, Unavailable
from tests.agent.workloads.specs import digest, everything, instance, spec

WEB, DB = spec("web"), spec("db", **{"login/password": "czNjcmV0"})
WEB2 = spec(instance("web", generation=2, env="x"))


def loaded(directory: Path) -> Desired:
    found = Desired(directory / "workloads")
    assert found.load() == ""
    return found


def holding(directory: Path, *specs: Spec) -> Desired:
    found = loaded(directory)
    assert found.take_over(everything(*specs))
    return found


def file_of(directory: Path) -> Path:
    return directory / "workloads" / "desired"


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    holding(tmp_path, WEB, DB)
    found = loaded(tmp_path)
    assert found.whole
    assert set(found.held) == {"web.0", "db.0"}
    assert found.digest == digest(WEB, DB)
    assert found.everything["web.0"].instance == instance("web")
    assert found.everything["db.0"].secrets == {"login/password": "czNjcmV0"}


def test_it_is_private(tmp_path: Path) -> None:
    holding(tmp_path, DB)
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "workloads").stat().st_mode) == 0o700
    assert "czNjcmV0" not in repr(loaded(tmp_path).everything)
    (tmp_path / "workloads").chmod(0o755)
    with pytest.raises(InvalidSpec, match="chmod go="):
        Desired(tmp_path / "workloads")


def test_a_change_is_the_difference(tmp_path: Path) -> None:
    held = holding(tmp_path, WEB, DB)
    db = held.everything["db.0"]
    api = spec("api")
    assert held.take_over(Change((WEB2, api), digest=digest(WEB2, DB, api)))
    assert held.everything["db.0"] is db, "what stays is not read anew"
    assert held.take_over(Change(removed=frozenset(["api.0", "gone.1"]), digest=digest(WEB2, DB)))
    found = loaded(tmp_path)
    assert found.digest == held.digest == digest(WEB2, DB)
    assert found.everything == held.everything


def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    held = holding(tmp_path, WEB, DB)
    before = file_of(tmp_path).stat()
    for change in (
        everything(WEB, DB),
        everything(DB, WEB),
        Change(digest=digest(WEB, DB)),
        Change((WEB,), digest=digest(WEB, DB)),
        Change(removed=frozenset(["gone.0"]), digest=digest(WEB, DB)),
    ):
        assert not held.take_over(change)
    assert file_of(tmp_path).stat() == before


def test_that_nothing_is_to_run_is_known_only_once_it_was_said(tmp_path: Path) -> None:
    held = loaded(tmp_path)
    assert (held.whole, held.held) == (False, {})
    assert held.take_over(Change(digest=0))
    assert held.whole
    assert loaded(tmp_path).whole


def test_another_digest_changes_nothing(tmp_path: Path) -> None:
    held = holding(tmp_path, WEB)
    before = file_of(tmp_path).read_bytes()
    with pytest.raises(Conflict, match="send all of them"):
        held.take_over(Change((DB,), digest=digest(DB)))
    with pytest.raises(Conflict, match="no name"):
        held.take_over(everything(Spec("../x", b"{}", {})))
    assert (held.digest, file_of(tmp_path).read_bytes()) == (digest(WEB), before)


def test_a_spec_that_is_not_understood_is_kept_and_not_run(tmp_path: Path) -> None:
    """Of a newer master: both agree on what is held, and the newer agent will find it."""
    newer = Spec("new.0", b'{"workload": {"name": "new", "orbit": "low"}, "hash": 3}', {})
    binary = Spec("bin.0", b"\xff\xfe", {})
    other = Spec("other.1", WEB.spec, {})
    holding(tmp_path, WEB, newer, binary, other)
    found = loaded(tmp_path)
    assert found.digest == digest(WEB, newer, binary, other)
    readable = {k for k, h in found.everything.items() if h.instance is not None}
    assert readable == {"web.0"}
    assert "web.0" in found.everything["other.1"].unreadable


# ---- killed, and broken ----


def test_damage_wherever_it_is(tmp_path: Path) -> None:
    """Bytes cut off, or turned over: only whole specs count, and it is known that one misses."""
    holding(tmp_path, WEB, DB)
    path = file_of(tmp_path)
    good = path.read_bytes()
    known = loaded(tmp_path).everything
    for at in range(0, len(good), 7):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :]):
            path.write_bytes(bad)
            found = Desired(tmp_path / "workloads")
            damage = found.load()
            assert "damaged" in damage
            assert not found.whole
            assert found.held == {}, "the master has to send everything"
            for key, held in found.everything.items():
                assert held == known[key], "never half of one"


def test_a_damaged_file_is_kept_until_everything_came_and_then_put_aside(tmp_path: Path) -> None:
    holding(tmp_path, WEB, DB)
    path = file_of(tmp_path)
    bad = path.read_bytes().replace(b"web", b"wob")
    path.write_bytes(bad)
    found = Desired(tmp_path / "workloads")
    assert "desired.damaged" in found.load()
    assert set(found.everything) == {"db.0"}, "what is readable may run"
    api = spec("api")
    assert found.take_over(Change((WEB, api), digest=digest(WEB, api))), "all counts, not the rest"
    assert path.with_name("desired.damaged").read_bytes() == bad
    assert set(loaded(tmp_path).everything) == {"web.0", "api.0"}


class Killed(BaseException):
    pass


STEPS: list[tuple[Any, str]] = [
    (os, "open"),
    (os, "fsync"),
    (Path, "replace"),
    (Path, "unlink"),
    (desired, "sync_dir"),
]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=lambda x: x if isinstance(x, str) else "")
@pytest.mark.parametrize("damaged", [False, True])
def test_killed_at_each_step_it_is_old_or_new(
    owner: Any,
    step: str,
    before: bool,
    damaged: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = holding(tmp_path, WEB, DB)
    if damaged:
        path = file_of(tmp_path)
        path.write_bytes(path.read_bytes().replace(b"web", b"wob"))
        held = Desired(tmp_path / "workloads")
        held.load()
    real: Callable[..., Any] = getattr(owner, step)

    def dies(*args: Any, **kwargs: Any) -> Any:
        try:
            if not before:
                real(*args, **kwargs)
        finally:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, dies)
        with pytest.raises(Killed):
            held.take_over(everything(WEB2, DB))
    found = Desired(tmp_path / "workloads")
    trouble = found.load()
    if found.whole:
        assert found.digest in (digest(WEB, DB), digest(WEB2, DB))
    else:
        assert damaged, "a file that was whole stays so"
        assert bool(trouble) is file_of(tmp_path).exists()
    found.take_over(everything(WEB2, DB))
    assert loaded(tmp_path).digest == digest(WEB2, DB)


@pytest.mark.parametrize("step", ["open", "fsync", "write"])
def test_a_full_disk_changes_nothing(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = holding(tmp_path, WEB)

    def full(*_: object) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(desired, "_line", full)
        else:
            patch.setattr(os, step, full)
        with pytest.raises(Unavailable, match="No space left on device"):
            held.take_over(everything(WEB2))
    assert (held.digest, loaded(tmp_path).digest) == (digest(WEB), digest(WEB))
    assert [p.name for p in (tmp_path / "workloads").iterdir()] == ["desired"], "no rubbish"
    assert held.take_over(everything(WEB2))


@pytest.mark.needs_root
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=True)
    try:
        held = holding(tmp_path, WEB)
        (tmp_path / "rest").write_bytes(b"x" * 40_000)
        large = spec(instance("large", env="x" * 30_000))
        with pytest.raises(Unavailable, match="No space left on device"):
            held.take_over(everything(WEB, large))
        assert (held.digest, loaded(tmp_path).digest) == (digest(WEB), digest(WEB))
        (tmp_path / "rest").unlink()
        assert held.take_over(everything(WEB, large))
        assert loaded(tmp_path).digest == digest(WEB, large)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_file_that_cannot_be_read_is_as_a_damaged_one(tmp_path: Path) -> None:
    holding(tmp_path, WEB)
    file_of(tmp_path).unlink()
    file_of(tmp_path).mkdir()
    found = Desired(tmp_path / "workloads")
    assert "Is a directory" in found.load()
    assert not found.whole


def test_two_hundred_at_once(tmp_path: Path) -> None:
    many = [spec(f"w{i}") for i in range(200)]
    holding(tmp_path, *many)
    assert loaded(tmp_path).digest == digest(*many)


def test_what_is_held_is_told_as_it_came_and_in_pieces(tmp_path: Path) -> None:
    newer = Spec("new.0", b'{"by":"a newer master"}', {})  # nothing that this agent can read
    held = holding(tmp_path, WEB, DB, newer)
    assert held.specs({"db.0", "new.0", "ghost.0"}, 10_000) == [DB, newer]
    assert held.specs({"db.0", "new.0"}, 10) == [DB], "at least one"
    with pytest.raises(Unavailable, match="none of the 1 instances"):
        held.specs({"ghost.0"}, 10_000)
    file_of(tmp_path).unlink()
    with pytest.raises(Unavailable, match="cannot read"):
        held.specs({"db.0"}, 10_000)
