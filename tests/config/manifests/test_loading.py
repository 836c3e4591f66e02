"""Where documents come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from piccolo.config.document import MAX_BYTES
from piccolo.config.manifests import loading
from piccolo.config.manifests.loading import read_all
from piccolo.core.errors import InvalidSpec


def nothing(limit: int) -> bytes:
    raise AssertionError("nobody asked for it")


def texts(*sources: str | Path) -> list[tuple[str, str]]:
    found = [(name, text) for name, text in read_all([str(s) for s in sources], nothing)]
    return [(name, text if isinstance(text, str) else f"! {text}") for name, text in found]


def test_files_and_directories_in_order(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", "d.txt", ".e.yaml"):
        (tmp_path / name).write_text(name)
    (tmp_path / "below.yaml.d").mkdir()
    (tmp_path / "below.yaml.d" / "x.yaml").write_text("x")
    found = texts(tmp_path / "d.txt", tmp_path)
    assert [text for _, text in found] == ["d.txt", "a.yaml", "b.yml", "c.json"]
    assert found[1][0] == str(tmp_path / "a.yaml")


def test_a_file_that_is_named_twice_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("a")
    Path("b.yaml").symlink_to("a.yaml")
    assert texts("a.yaml", "./a.yaml", tmp_path / "a.yaml", ".") == [("a.yaml", "a")]


def test_standard_input() -> None:
    asked = []

    def stdin(limit: int) -> bytes:
        asked.append(limit)
        return b"a: 1"

    assert list(read_all(["-", "-"], stdin)) == [("standard input", "a: 1")]
    assert asked == [MAX_BYTES + 1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * (MAX_BYTES + 1), "standard input: more than the 1 MiB allowed"),
        (b"a: \xff", "standard input:1:4: byte 0xff is not UTF-8"),
        (b"\xff\xfea", "standard input: this is UTF-16"),
        (b"a\0", "standard input:1:2: a NUL byte"),
    ],
)
def test_standard_input_that_is_no_text(data: bytes, reason: str) -> None:
    [(_, error)] = read_all(["-"], lambda limit: data[:limit])
    assert isinstance(error, InvalidSpec)
    assert str(error).startswith(reason)


def test_what_cannot_be_read_is_told_and_the_rest_read(tmp_path: Path) -> None:
    big, pipe, good = tmp_path / "big.yaml", tmp_path / "pipe.yaml", tmp_path / "z.yaml"
    big.write_bytes(b"x" * 2_000_000)
    os.mkfifo(pipe)
    good.write_text("good")
    found = dict(texts(tmp_path / "none.yaml", tmp_path))
    assert "No such file" in found[str(tmp_path / "none.yaml")]
    assert "the file has 2.0 MB; at most 1 MiB are read" in found[str(big)]
    assert "this is not a regular file" in found[str(pipe)]
    assert found[str(good)] == "good"


def test_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"no files \*\.yaml, \*\.yml, \*\.json are in this"):
        texts(tmp_path)


def test_a_path_that_is_none() -> None:
    [(_, text)] = texts("a\0b")
    assert "is not a path" in text


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text("xxx")
    monkeypatch.setattr(loading, "MAX_TOTAL", 8)
    with pytest.raises(InvalidSpec, match=r"c\.yaml: with it, there are more than"):
        texts(tmp_path)
    monkeypatch.setattr(loading, "MAX_FILES", 2)
    with pytest.raises(InvalidSpec, match="more than 2 files"):
        texts(tmp_path)
