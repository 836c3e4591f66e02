"""The chain of the audit trail: whatever is done to its lines, verification says where."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piccolo.core.errors import InvalidSpec
from piccolo.core.security.audit import (
    GENESIS,
    MAX_LINE,
    Entry,
    Head,
    beginning,
    chain,
    file_name,
    file_number,
    oldest_kept,
    parse,
)
from piccolo.core.security.audit_check import Report, Verifier

TIME = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
Files = list[list[bytes]]


def entry(number: int = 1, **fields: Any) -> Entry:
    values: dict[str, Any] = {
        "actor": "admin:admin",
        "source": "10.0.0.2:40112",
        "action": "RemoveNode",
        "object": f"node n{number}",
        "reason": "it is old",
    }
    return Entry(TIME + timedelta(seconds=number), **{**values, **fields})


def trail(*sizes: int, oldest: int = 1) -> tuple[Files, Head]:
    """Files with so many lines each, the first of which is the beginning."""
    files: Files = []
    head = GENESIS
    for number, size in enumerate(sizes, start=1):
        line, head = chain(beginning(TIME, number, oldest), head)
        lines = [line]
        for _ in range(size - 1):
            line, head = chain(entry(head.number + 1), head)
            lines.append(line)
        files.append(lines)
    return files, head


def check(files: Sequence[Sequence[bytes]], head: Head | None = None, first: int = 1) -> Report:
    verifier = Verifier(head)
    for number, lines in enumerate(files, start=first):
        if lines is MISSING:
            continue
        verifier.file(number)
        for line in lines:
            verifier.line(line)
    return verifier.report()


MISSING: list[bytes] = []
FILES, HEAD = trail(4, 5, 4)
ALL = [(file, line) for file, lines in enumerate(FILES) for line in range(len(lines))]


def copy() -> Files:
    return [list(lines) for lines in FILES]


def test_what_nobody_touched_is_intact() -> None:
    assert check(FILES, HEAD) == Report(13, 1, HEAD, ())
    assert check(FILES) == Report(13, 1, HEAD, ())


def test_a_trail_that_went_on_after_the_head_was_noted_is_intact() -> None:
    noted = parse(FILES[1][2])[0].head
    assert not check(FILES, noted).findings


def test_a_line_says_who_did_what() -> None:
    line, head = chain(entry(allowed=False, count=3), GENESIS)
    assert json.loads(line) == {
        "number": 1,
        "time": "2026-11-21T09:00:01.000000Z",
        "actor": "admin:admin",
        "source": "10.0.0.2:40112",
        "action": "RemoveNode",
        "object": "node n1",
        "allowed": False,
        "reason": "it is old",
        "count": 3,
        "previous": "0" * 64,
        "hash": head.hash,
    }


def test_the_hash_can_be_computed_by_anyone() -> None:
    """As docs/audit.md says: of all that stands before `,"hash":`."""
    for line, following in pairwise(line for lines in FILES for line in lines):
        content, _, rest = line.partition(b',"hash":')
        assert json.loads(b'{"hash":' + rest)["hash"] == hashlib.sha256(content).hexdigest()
        assert json.loads(following)["previous"] == hashlib.sha256(content).hexdigest()


texts = st.text(st.characters(), max_size=400)


@given(texts, texts, texts, texts, texts, st.booleans())
def test_no_text_can_forge_a_line(
    actor: str, source: str, action: str, object_: str, reason: str, allowed: bool
) -> None:
    given = Entry(TIME, actor, source, action, object_, allowed, reason)
    line, head = chain(given, GENESIS)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F or byte == 0x7F for byte in line[:-1])
    record, genuine = parse(line)
    assert genuine
    assert record.entry == given.bounded()
    assert record.head == head
    str(record.entry).encode()  # what goes over the wire has no lone surrogates


def test_the_longest_line_is_within_the_limit() -> None:
    long = "\U0001f600" * 10_000
    line, _ = chain(Entry(TIME, long, long, long, long, False, long), Head(1 << 60, "f" * 64))
    assert len(line) < MAX_LINE
    assert parse(line)[0].entry.reason.endswith("…")


@given(st.sampled_from(ALL), st.data())
def test_every_change_of_a_byte_is_found(place: tuple[int, int], data: st.DataObject) -> None:
    files = copy()
    line = bytearray(files[place[0]][place[1]])
    index = data.draw(st.integers(0, len(line) - 1))
    line[index] = data.draw(st.integers(0, 255).filter(lambda b: b != line[index]))
    # As a file is read: what is a line depends on where its line breaks are.
    text = b"".join([*files[place[0]][: place[1]], bytes(line), *files[place[0]][place[1] + 1 :]])
    files[place[0]] = [part for part in re.split(rb"(?<=\n)", text) if part]
    report = check(files)  # even without a head
    assert report.findings
    assert report.findings[0].startswith(f"{file_name(place[0] + 1)}:")


@pytest.mark.parametrize("place", ALL)
def test_a_line_that_is_missing_is_found(place: tuple[int, int]) -> None:
    files = copy()
    del files[place[0]][place[1]]
    assert check(files, HEAD).findings
    last = place == ALL[-1]
    assert bool(check(files).findings) != last  # the end alone needs the head


@pytest.mark.parametrize("place", ALL)
def test_a_line_that_comes_twice_is_found(place: tuple[int, int]) -> None:
    files = copy()
    files[place[0]].insert(place[1], files[place[0]][place[1]])
    assert "stands after record" in check(files).findings[0]


@pytest.mark.parametrize("place", ALL)
def test_a_line_that_was_put_in_is_found(place: tuple[int, int]) -> None:
    """Its own hash and its link are right; only those behind it are not."""
    files = copy()
    before = parse(files[place[0]][place[1]])[0].head
    files[place[0]].insert(place[1] + 1, chain(entry(99), before)[0])
    if place == ALL[-1]:
        assert not check(files, HEAD).findings  # that is how a trail goes on
    else:
        assert check(files).findings


@pytest.mark.parametrize(("a", "b"), list(pairwise(ALL)))
def test_lines_that_changed_places_are_found(a: tuple[int, int], b: tuple[int, int]) -> None:
    files = copy()
    files[a[0]][a[1]], files[b[0]][b[1]] = files[b[0]][b[1]], files[a[0]][a[1]]
    assert check(files).findings


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_cut_end_is_found_by_the_head(cut: int) -> None:
    lines = [(file, line) for file, line in ALL[:-cut]]
    files = [[FILES[f][n] for f, n in lines if f == file] for file in range(3)]
    [finding] = [f for f in check([f for f in files if f], HEAD).findings if "cut off" in f]
    first = 13 - cut + 1
    missing = "record 13 is" if cut == 1 else f"records {first} to 13 are"
    assert finding == f"the end is cut off: {missing} missing"


def test_a_file_that_is_missing_in_the_middle_is_found() -> None:
    findings = check([FILES[0], MISSING, FILES[2]], HEAD).findings
    assert findings[0] == "audit-000002.jsonl is missing"
    assert "records 5 to 9 are missing before record 10" in findings[1]


def test_an_oldest_file_that_was_not_dropped_by_us_is_found() -> None:
    assert check(FILES[1:], HEAD, first=2).findings == ("audit-000001.jsonl is missing",)
    assert check(FILES[2:], HEAD, first=3).findings == (
        "audit-000001.jsonl to audit-000002.jsonl are missing",
    )


def test_files_that_were_dropped_by_us_leave_the_rest_intact() -> None:
    files, head = trail(3, 3, 3, oldest=2)
    assert check(files[1:], head, first=2) == Report(6, 4, head, ())
    # A file may stay when the master ended before it could drop it.
    assert not check(files, head).findings


def test_lines_missing_at_the_beginning_of_the_oldest_file_are_found() -> None:
    files, head = trail(3, 3, 3, oldest=2)
    [finding] = check([files[1][1:], files[2]], head, first=2).findings
    assert finding.startswith("audit-000002.jsonl:1: this is not how the file began")


def test_a_file_under_the_name_of_another_is_found() -> None:
    files, head = trail(3, 3, 3, oldest=2)
    assert check(files[1:], head, first=3).findings


@pytest.mark.parametrize("place", ALL[1:])
def test_a_trail_written_anew_from_somewhere_on_is_found_by_the_head(
    place: tuple[int, int],
) -> None:
    files = copy()
    at = ALL.index(place)
    head = parse(files[ALL[at - 1][0]][ALL[at - 1][1]])[0].head
    for file, line in ALL[at:]:
        old = parse(files[file][line])[0].entry
        new = old if old.action != "RemoveNode" else entry(7, actor="agent:x", object="forged")
        if (file, line) == place:
            new = entry(7, object="forged") if line else beginning(TIME, file + 1, 2)
        files[file][line], head = chain(new, head)
    assert not check(files).findings  # consistent in itself …
    assert "is not the one that the master wrote here" in check(files, HEAD).findings[0]


def test_an_empty_directory_is_a_cut_trail() -> None:
    assert check([], HEAD).findings == ("the end is cut off: records 1 to 13 are missing",)


def test_a_torn_last_line_is_said_to_be() -> None:
    files = copy()
    files[2][-1] = files[2][-1][:-5]
    assert check(files, HEAD).findings == ("audit-000003.jsonl:4: is cut off",)


def test_one_line_of_rubbish_is_one_finding() -> None:
    files = copy()
    files[1][2] = b"rubbish\n"
    assert check(files, HEAD).findings == (
        "audit-000002.jsonl:3: is no record as the master writes them",
    )
    files = copy()
    files[1].insert(2, b"\n")
    assert check(files, HEAD).findings == (
        "audit-000002.jsonl:3: is no record as the master writes them",
    )


def test_the_last_record_is_one_that_could_be_read() -> None:
    files = copy()
    files[2].append(b"rubbish\n")
    report = check(files)
    assert (report.records, report.first, report.last) == (13, 1, HEAD)
    files[2][-2:] = [b"rubbish\n"]  # in the place of the last one: with the head no other finding
    assert len(check(files, HEAD).findings) == 1
    assert check(files).last == parse(files[2][-2])[0].head


def test_findings_are_bounded() -> None:
    verifier = Verifier(max_findings=3)
    verifier.file(1)
    for _ in range(10):
        verifier.line(b"x\n")
    assert verifier.report().findings[3:] == ("and 7 more",)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"null\n",
        b"[]\n",
        b"3\n",
        b"{}\n",
        b"[" * 30_000 + b"\n",
        b"\xff\n",
        FILES[0][1].replace(b'"number":2', b'"number":2.0'),
        FILES[0][1].replace(b'"number":2', b'"number":true'),
        FILES[0][1].replace(b'"number":2', b'"number":-2'),
        FILES[0][1].replace(b'"number":2', b'"number":' + b"9" * 5000),
        FILES[0][1].replace(b'"allowed":true', b'"allowed":1'),
        FILES[0][1].replace(b'"count":1', b'"count":0'),
        FILES[0][1].replace(b'"actor":"admin:admin"', b'"actor":["a"]'),
        FILES[0][1].replace(b"000000Z", b"000000"),
        FILES[0][1].replace(b"2026-11-21T", b"0000-11-21T"),
        FILES[0][1].replace(b"2026-11-21T09:00:02.000000Z", b"0001-01-01T00:00:00+14:00"),
        FILES[0][1].replace(b',"count"', b' ,"count"'),
        FILES[0][1].replace(b',"count"', b',"count":1,"count"'),
        FILES[0][1].replace(b"}\n", b',"more":1}\n'),
        FILES[0][1].replace(b"}\n", b"}\r\n"),
        FILES[0][1].replace(b"}\n", b"}"),
    ],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    assert line not in FILES[0]
    with pytest.raises(InvalidSpec, match=r"is no record|is cut off"):
        parse(line)


def test_names_of_files() -> None:
    assert file_name(7) == "audit-000007.jsonl"
    assert file_number("audit-000007.jsonl") == 7
    assert file_number(file_name(12345678)) == 12345678
    for name in ("audit-7.jsonl", "audit-0000007.jsonl", "audit-000007.jsonl.old", "x"):
        assert file_number(name) is None
    assert oldest_kept(beginning(TIME, 9, 2)) == 2
    assert oldest_kept(entry(reason="the oldest file kept is audit-000002.jsonl")) is None
