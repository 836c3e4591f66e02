"""Context files: what is written is read again; what is damaged or open to others is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from piccolo.core.errors import InvalidSpec, NotFound, Unavailable
from piccolo.security.context import Context, _as_written, load, parse, save, to_text

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
PEM = "-----BEGIN X-----\nMIIB+/=\n-----END X-----\n"
CONTEXT = Context(
    name="factory",
    cluster="0b5c1f5e-0f5f-4a52-9a9b-6f3c1d0a7c11",
    role="admin",
    masters=("10.0.0.1:50051", "[2001:db8::1]:50051"),
    not_before=NOW,
    not_after=NOW + timedelta(days=365),
    ca=PEM + PEM,
    certificate=PEM,
    key=PEM.replace("X", "PRIVATE KEY"),
)
TEXT = to_text(CONTEXT)


def test_a_file_is_read_as_it_was_written_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    save(path, CONTEXT)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path) == CONTEXT
    save(path, replace(CONTEXT, role="viewer"))
    assert load(path).role == "viewer"
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


def test_it_is_plain_yaml_that_people_can_read() -> None:
    found = yaml.safe_load(TEXT)
    assert set(found) == {f.name for f in fields(Context)}
    assert found["masters"] == list(CONTEXT.masters)
    assert "key: |\n  -----BEGIN PRIVATE KEY-----\n  MIIB+/=\n" in TEXT
    assert TEXT.startswith("# ")


ASCII = st.text(st.characters(codec="ascii"))


@given(ASCII, ASCII, st.timedeltas(timedelta(0), timedelta(days=3650)))
def test_any_ascii_text_survives(cluster: str, certificate: str, life: timedelta) -> None:
    made = replace(CONTEXT, cluster=cluster, certificate=certificate, not_after=NOW + life)
    assert parse(to_text(made), "x") == made


@given(ASCII, ASCII, st.timedeltas(timedelta(0), timedelta(days=3650)))
def test_what_was_written_is_read_as_yaml_would(
    cluster: str, certificate: str, life: timedelta
) -> None:
    made = replace(CONTEXT, cluster=cluster, certificate=certificate, not_after=NOW + life)
    text = to_text(made)
    assert _as_written(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "edited",
    [
        TEXT + "\n",
        TEXT.replace("# A", "# My"),
        TEXT.replace('"admin"', "admin"),
        TEXT.replace('"admin"', "'admin'"),
        TEXT.replace('"admin"', '"admin" # me'),
        TEXT.replace('"admin"', '"\\x61dmin"'),
        TEXT.replace("ca: |", "# whom to trust\nca: |"),
        TEXT.replace('masters: ["10.0.0.1:50051", ', 'masters:\n- "10.0.0.1:50051"\n- ').replace(
            '50051"]', '50051"'
        ),
    ],
)
def test_what_people_have_edited_is_read_as_yaml(edited: str) -> None:
    assert edited != TEXT
    assert _as_written(edited) is None
    assert parse(edited, "x") == CONTEXT


def test_other_yaml_that_says_the_same_is_taken() -> None:
    found = yaml.safe_load(TEXT)
    found["not_after"] = CONTEXT.not_after  # YAML's own time
    found["masters"] = ["10.0.0.1", "[2001:db8::1]"]  # without the port
    assert parse(yaml.safe_dump(found), "x") == CONTEXT


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "c.yaml"
    save(path, CONTEXT)
    path.chmod(mode)
    with pytest.raises(InvalidSpec, match=f"{path} .*others.*chmod"):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no context file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(Unavailable, match="directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "this is no context, but nothing"),
        ("masters: [10.0.0.1]\n", "name, cluster, role, .*key missing"),
        ("- a\n", "but a list"),
        ("a: [\n", r"file:2:1: the context is damaged"),
        ("a: \x00\n", "damaged"),
        (TEXT + "mastres: []\n", 'unknown key "mastres"; did you mean "masters"'),
        (TEXT.replace('role: "admin"', "role: agent"), "write admin or viewer"),
        (TEXT.replace('role: "admin"', "role: [admin]"), "role must be text"),
        (TEXT.replace('name: "factory"', "name: ../etc"), "not a name for a context"),
        (TEXT.replace('name: "factory"', "name: 7"), "name must be text"),
        (TEXT.replace("10.0.0.1:", "10.0.0:"), 'masters: "10.0.0"'),
        (TEXT.replace("[2001:db8::1]:50051", ""), "a host is missing"),
        (TEXT.replace('"2027-11-21T', '"2027-11-41T'), "not_after: .* is no time"),
        (TEXT.replace('"2027-11-21T10:00:00+00:00"', "5"), "not_after: .* is no time"),
    ],
)
def test_what_is_no_context_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    assert text != TEXT
    with pytest.raises(InvalidSpec, match=reason) as caught:
        parse(text, "file")
    assert str(caught.value).startswith("file:")


def test_the_key_is_never_shown() -> None:
    assert "PRIVATE KEY" not in repr(CONTEXT)
    with pytest.raises(InvalidSpec) as caught:
        parse(TEXT.replace("key: |\n", "key: [SECRET\n"), "file")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("life", "left", "soon"),
    [(365, 15, False), (365, 13, True), (30, 9, False), (30, 7, True), (1, 0.3, False)],
)
def test_soon_is_two_weeks_or_the_last_quarter(life: float, left: float, soon: bool) -> None:
    """A master renews its own context, which holds for 30 days, when a third of it is left."""
    context = replace(CONTEXT, not_before=NOW, not_after=NOW + timedelta(days=life))
    now = context.not_after - timedelta(days=left)
    assert context.expires_soon(now) is soon
    assert not context.expired(now)
    assert context.expired(context.not_after)
