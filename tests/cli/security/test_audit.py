"""`piccolo audit`: times, tables, and verification of a copy without a master."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from piccolo.cli.options import Output
from piccolo.cli.security.audit import _Printer, moment
from piccolo.cli.security.audit_rows import result
from piccolo.core.errors import InvalidSpec
from piccolo.core.security.audit import GENESIS, Entry, beginning, chain
from piccolo.rpc import wire
from tests.cli.scripted import Cluster, saved, scripted
from tests.cli.test_commands import piccolo

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NODE_ID = "dabba7f9-0f5f-4a52-9a9b-6f3c1d0a7c11"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", NOW - timedelta(hours=1)),
        ("7d", NOW - timedelta(days=7)),
        ("90", NOW - timedelta(seconds=90)),
        ("2026-11-21T09:00:00Z", datetime(2026, 11, 21, 9, tzinfo=UTC)),
        ("2026-11-21t09:00:00.5z", datetime(2026, 11, 21, 9, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-21 18:00:00+09:00", datetime(2026, 11, 21, 9, tzinfo=UTC)),
        ("999999999d", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_since(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    ["yesterday", "1y", "-1h", "2026-11-31", "2026-11-21T09:00:00", "2026-13-21T09:00:00Z"],
)
def test_since_something_else(text: str) -> None:
    with pytest.raises(InvalidSpec, match="--since: "):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("zone", "hour", "day"), [("UTC0", 0, 21), ("KST-9", 15, 20), ("EST5", 5, 21)]
)
def test_a_day_begins_at_midnight_here(
    zone: str, hour: int, day: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        found = moment("2026-11-21", NOW)
    time.tzset()
    assert found == datetime(2026, 11, day, hour, tzinfo=UTC)


def test_since_something_else_exits_with_2() -> None:
    done = piccolo("audit", "--since", "yesterday", PICCOLO_CONTEXT="/nowhere.yaml")
    assert done.returncode == 2
    assert "2026-11-21T09:00:00Z" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--context", "wall"], "audit verify --context"),
        (["--since", "1h"], "it takes no --since"),
    ],
)
def test_options_before_verify_are_not_ignored(args: list[str], said: str, trail: Path) -> None:
    done = piccolo("audit", *args, "verify", str(trail))
    assert done.returncode == 2
    assert said in done.stderr


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    lines, head = [], GENESIS
    for entry in (
        beginning(NOW, 1, 1),
        Entry(NOW, "admin:admin", "10.0.0.2:4000", "RemoveNode", "node n1"),
        Entry(NOW, "anonymous", "10.6.6.6:1", "GetNodes", "", False, "no\x1b[31m certificate", 24),
        Entry(NOW, f"agent:{NODE_ID}", "", "RenewCertificate", reason="failed: the disk is full"),
        Entry(NOW, "anonymous", "", "GetNodes", allowed=False, reason="failed: so they say"),
    ):
        line, head = chain(entry, head)
        lines.append(line)
    (tmp_path / "audit-000001.jsonl").write_bytes(b"".join(lines))
    return tmp_path


def record(trail: Path, index: int) -> wire.AuditRecord:
    """As the master would send it."""
    line = (trail / "audit-000001.jsonl").read_text().splitlines()[index]
    raw = json.loads(line)
    names = ("number", "actor", "source", "action", "object", "allowed", "reason", "count")
    time = datetime.fromisoformat(raw["time"])
    return wire.AuditRecord(line=line, time=time, **{name: raw[name] for name in names})


def verified(trail: Path, code: int) -> tuple[str, dict[str, Any]]:
    """The text for people, and the JSON."""
    text, data = (piccolo("audit", "verify", str(trail), "-o", o) for o in ("table", "json"))
    assert (text.returncode, data.returncode) == (code, code), text.stderr
    return text.stdout, json.loads(data.stdout)


def test_a_copy_is_verified_without_a_master(trail: Path) -> None:
    out, found = verified(trail, 0)
    assert "the audit trail is intact: 5 records, 1 to 5" in out
    assert "cannot tell whether its end is missing" in out
    assert "Next:" not in out
    assert (found["intact"], found["endKnown"]) == (True, False)
    last = json.loads((trail / "audit-000001.jsonl").read_text().splitlines()[-1])
    assert found["hash"] == last["hash"]
    assert last["hash"] in out


def test_what_is_wrong_is_named_and_exits_with_1(trail: Path) -> None:
    path = trail / "audit-000001.jsonl"
    path.write_text(path.read_text().replace("node n1", "node n2"))
    out, found = verified(trail, 1)
    assert out.startswith("audit-000001.jsonl:2: record 2 was changed")
    assert "NOT intact" in out
    assert "Next: compare it with the master's own" in out
    assert found["intact"] is False
    assert found["records"] == found["last"] == 5
    assert len(found["findings"]) == 1


def test_first_lines_that_are_missing_were_not_dropped(trail: Path) -> None:
    path = trail / "audit-000001.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    out, _ = verified(trail, 1)
    assert "its first lines are missing" in out
    assert "dropped" not in out
    assert "NOT intact: 4 records can be read, with numbers from 2 to 5" in out


def test_files_that_were_dropped_are_no_fault(tmp_path: Path) -> None:
    _, head = chain(beginning(NOW, 1, 1), GENESIS)
    line, _ = chain(beginning(NOW, 2, 2), head)
    (tmp_path / "audit-000002.jsonl").write_bytes(line)
    out, _ = verified(tmp_path, 0)
    assert "intact: 1 record, 2 to 2\n  record 1 was dropped with the files" in out


def test_a_line_of_rubbish_at_the_end_is_no_record(trail: Path) -> None:
    path = trail / "audit-000001.jsonl"
    path.write_text(path.read_text() + "rubbish\n")
    out, found = verified(trail, 1)
    assert "NOT intact: 5 records can be read, with numbers from 1 to 5" in out
    assert (found["records"], found["last"]) == (5, 5)
    path.write_text("rubbish\n")
    out, found = verified(trail, 1)
    assert "NOT intact: 0 records can be read\n" in out
    assert (found["records"], found["first"], found["last"]) == (0, 0, 0)


def test_the_end_is_known_to_the_master(tmp_path: Path) -> None:
    cluster = Cluster()
    with scripted(cluster.tls()) as master:
        context = str(saved(tmp_path / "c.yaml", cluster.context(master.address)))
        for intact, code in ((True, 0), (False, 1)):
            answer = wire.VerifyAuditResponse(intact=intact, records=1, first=1, last=1, hash="ab")
            master.answers["verify_audit"] = partial(lambda answer, _: answer, answer)
            args = ["audit", "verify", "--context", context]
            done = piccolo(*args, "-o", "json")
            assert done.returncode == code
            assert json.loads(done.stdout)["endKnown"] is True
            out = piccolo(*args).stdout
            assert ("a copy kept elsewhere" in out) != intact
            assert "This copy" not in out


def test_a_directory_without_trail_exits_with_3(tmp_path: Path) -> None:
    done = piccolo("audit", "verify", str(tmp_path))
    assert done.returncode == 3
    assert "no files of an audit trail" in done.stderr


def test_the_table(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printer = _Printer(Output.TABLE, follow=False)
    for index in range(5):
        printer.show(record(trail, index))
    printer.show(wire.AuditRecord(line="rubbish", reason="this line is no record"))
    printer.end()
    head, _, removed, denied, failed, lied, bad = capsys.readouterr().out.splitlines()
    assert head.split() == ["TIME", "ACTOR", "SOURCE", "ACTION", "OBJECT", "RESULT", "REASON"]
    assert removed.index("allowed") == denied.index("denied") == head.index("RESULT")
    assert "10.0.0.2:4000" in removed
    assert "no�[31m certificate (24 times)" in denied
    assert failed.split()[2] == "agent:dabba7f9"
    assert failed.endswith("failed    the disk is full")
    assert failed.index("failed") == head.index("RESULT")
    assert lied.endswith("denied    failed: so they say")
    assert bad.split("   ")[-1] == "this line is no record"


def test_the_wide_table_has_the_whole_id(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printer = _Printer(Output.WIDE, follow=False)
    printer.show(record(trail, 3))
    printer.end()
    assert f"agent:{NODE_ID} " in capsys.readouterr().out


def test_json_is_what_stands_in_the_file_and_what_came_of_it(
    trail: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = _Printer(Output.JSON, follow=False)
    for index in range(5):
        printer.show(record(trail, index))
    printer.end()
    found = json.loads(capsys.readouterr().out)
    results = [f.pop("result") for f in found]
    assert results == ["allowed", "allowed", "denied", "failed", "denied"]
    lines = (trail / "audit-000001.jsonl").read_text().splitlines()
    assert found == [json.loads(line) for line in lines]
    assert result(wire.AuditRecord(line="rubbish", allowed=True)) == "?"


def test_what_is_told_again_after_a_lost_connection_is_shown_once(
    trail: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = _Printer(Output.JSON, follow=True)
    for index in (0, 1, 1, 2, 0, 2):
        printer.show(record(trail, index))
    shown = [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()]
    assert shown == [1, 2, 3]
    assert printer.last == NOW


def test_no_records(capsys: pytest.CaptureFixture[str]) -> None:
    _Printer(Output.TABLE, follow=False).end()
    assert "nothing was recorded" in capsys.readouterr().err
