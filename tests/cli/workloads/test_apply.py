"""`piccolo apply`, `diff`, `delete`, `restart`, `rollback` against a scripted master."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from piccolo.cli.workloads.apply import MAX_SENT
from piccolo.core.errors import Conflict, PiccoloError, Unavailable
from piccolo.rpc import wire
from piccolo.rpc.gate import Limits
from tests.cli.scripted import (
    HANG_UP,
    PICCOLO,
    Cluster,
    ScriptedMaster,
    piccolo,
    refuse,
    saved,
    scripted,
)
from tests.cli.workloads.served import (
    added,
    change,
    deleted,
    failed,
    modified,
    starting,
    story,
    workload,
)

pytestmark = pytest.mark.slow  # each test starts the program, some several times


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def master(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScriptedMaster]:
    """With one workload that is created, and runs soon."""
    monkeypatch.chdir(tmp_path)
    Path("web.yaml").write_text("kind: Workload\n")
    with scripted(cluster.tls()) as found:
        saved(tmp_path / "admin.yaml", cluster.context(found.address))
        found.answers["apply"] = lambda _: wire.ApplyResponse(changes=[change()])
        found.answers["watch"] = story(*added(starting()), modified(workload()))
        yield found


def run(*args: str, code: int = 0) -> tuple[str, str]:
    done = piccolo(*args, "--context", "./admin.yaml", home=Path.cwd())
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    on_time = re.sub(r", after \d+s\n$", "\n", done.stdout)  # said on a machine that is slow
    return on_time, done.stderr


# ---- what is sent ----


def test_files_are_sent_as_they_are(master: ScriptedMaster) -> None:
    Path("deploy").mkdir()
    Path("deploy/b.yaml").write_bytes(b"\xff not: even text")
    Path("deploy/a.json").write_text("{}")
    Path("deploy/notes.txt").write_text("no document")
    run("apply", "-f", "web.yaml", "-f", "deploy", "-f", "./web.yaml", "--no-wait")
    [request] = master.requests("apply")
    assert [(s.name, s.text) for s in request.sources] == [
        ("web.yaml", b"kind: Workload\n"),
        ("deploy/a.json", b"{}"),
        ("deploy/b.yaml", b"\xff not: even text"),
    ]
    assert not request.dry_run
    assert master.requests("watch") == []


def test_standard_input(master: ScriptedMaster) -> None:
    args = [str(PICCOLO), "apply", "-f", "-", "--no-wait", "--context", "./admin.yaml"]
    done = subprocess.run(args, input=b"kind: Workload\n", capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"workload/web created\n")
    [request] = master.requests("apply")
    assert [(s.name, s.text) for s in request.sources] == [("standard input", b"kind: Workload\n")]


def test_what_cannot_be_read_changes_nothing(master: ScriptedMaster) -> None:
    Path("big.yaml").write_bytes(b"x" * 2_000_000)
    _, err = run("apply", "-f", "none.yaml", "-f", "web.yaml", "-f", "big.yaml", code=2)
    assert err == (
        "piccolo: nothing was changed:\n"
        "  none.yaml: cannot be read: No such file or directory\n"
        "  big.yaml: the file has 2.0 MB; at most 1 MiB are read\n"
    )
    assert master.asked == []


def test_no_more_is_sent_than_the_master_takes(master: ScriptedMaster) -> None:
    assert Limits().message - MAX_SENT > 200_000, "names and frames go along"
    for name in "abcd":
        Path(f"{name}.yaml").write_bytes(b"x" * 1_000_000)
    _, err = run("apply", "-f", ".", code=2)
    assert "d.yaml: with it, there are more than 3.75 MiB: name fewer at a time" in err
    assert master.asked == []


# ---- what is told ----


def test_problems_and_notices(master: ScriptedMaster) -> None:
    answer = wire.ApplyResponse(
        problems=[wire.DocumentFinding("web.yaml", 3, 7, "Workload web: \x1b[2Jbad")],
        notices=[wire.DocumentFinding("web.yaml", 0, 0, "nothing in it")],
    )
    master.answers["apply"] = lambda _: answer
    out, err = run("apply", "-f", "web.yaml", code=2)
    assert out == ""
    assert err == (
        "✗ web.yaml:3:7: Workload web: �[2Jbad\n"
        "note: web.yaml: nothing in it\n"
        "piccolo: 1 problem: nothing was changed\n"
    )
    out, err = run("apply", "-f", "web.yaml", "-o", "json", code=2)
    found = json.loads(out)
    assert found["problems"][0]["line"] == 3
    assert found["notices"][0]["message"] == "nothing in it"
    assert "outcome" not in found
    run("diff", "-f", "web.yaml", code=2)
    master.answers["delete_workloads"] = lambda _: wire.DeleteWorkloadsResponse(
        problems=answer.problems
    )
    run("delete", "-f", "web.yaml", code=2)


def changed() -> wire.ObjectChange:
    found = change("db", "changed", 4)
    found.fields = [
        wire.FieldChange("containers[0].image", '"db:1"', '"db:2"'),
        wire.FieldChange("labels.tier", "", '"back"'),
    ]
    return found


def test_a_line_for_each_object(master: ScriptedMaster) -> None:
    scenario = wire.ObjectChange(kind="Scenario", name="hello", what="launched")
    changes = [change(), changed(), change("x", "unchanged", 9), scenario]
    master.answers["apply"] = lambda _: wire.ApplyResponse(changes=changes)
    out, _ = run("apply", "-f", "web.yaml", "--no-wait")
    assert out == (
        "workload/web created\n"
        "workload/db changed (generation 4)\n"
        "workload/x unchanged\n"
        "scenario/hello launched\n"
    )
    out, _ = run("apply", "-f", "web.yaml", "--no-wait", "--diff")
    assert '  containers[0].image: "db:1" -> "db:2"\n  labels.tier: - -> "back"\n' in out
    out, _ = run("apply", "-f", "web.yaml", "--no-wait", "-o", "name")
    assert out == "workload/web\nworkload/db\nworkload/x\nscenario/hello\n"


def test_a_dry_run_prints_the_plan_and_waits_for_nothing(master: ScriptedMaster) -> None:
    plan = [wire.PlanStep("start", "db", 0, "n1", "it is new")]
    master.answers["apply"] = lambda _: wire.ApplyResponse(changes=[changed()], plan=plan)
    out, _ = run("apply", "-f", "web.yaml", "--dry-run")
    assert out.splitlines() == [
        "workload/db would be changed (generation 4)",
        "",
        "First steps:",
        "DO      INSTANCE   NODE   BECAUSE",
        "start   db.0       n1     it is new",
    ]
    assert [r.dry_run for r in master.requests("apply")] == [True]
    found = json.loads(run("apply", "-f", "web.yaml", "--dry-run", "-o", "json")[0])
    assert found["dryRun"] is True
    assert found["changes"][0]["fields"] == [
        {"path": "containers[0].image", "before": "db:1", "after": "db:2"},
        {"path": "labels.tier", "after": "back"},
    ]
    assert found["plan"][0]["verb"] == "start"


def test_diff_ends_like_diff(master: ScriptedMaster) -> None:
    master.answers["apply"] = lambda _: wire.ApplyResponse(changes=[changed()])
    out, _ = run("diff", "-f", "web.yaml", code=1)
    assert out.startswith("workload/db would be changed (generation 4)\n  containers[0].image: ")
    unchanged = wire.ApplyResponse(changes=[change(what="unchanged")])
    master.answers["apply"] = lambda _: unchanged
    assert run("diff", "-f", "web.yaml")[0] == "workload/web unchanged\n"
    master.answers["apply"] = refuse(PiccoloError("the disk is on fire"))
    assert "the disk is on fire" in run("diff", "-f", "web.yaml", code=2)[1]
    run("diff", "-f", "none.yaml", code=2)
    assert all(r.dry_run for r in master.requests("apply"))


# ---- waiting ----


def test_until_all_is_as_asked(master: ScriptedMaster) -> None:
    out, err = run("apply", "-f", "web.yaml")
    assert out.splitlines() == [
        "workload/web created",
        "workload/web: Starting, 0/1 ready, on n1: its image is pulled",
        "workload/web: Running, 1/1 ready, on n1",
        "1 workload is as asked",
    ]
    assert err == ""
    [request] = master.requests("watch")
    assert (request.kind, request.names) == (wire.WatchKind.WORKLOAD, ["web"])
    assert len(master.peers) == 2
    assert len(set(master.peers)) == 1, "the watch uses the connection there is"


def test_what_failed_ends_with_its_reason(master: ScriptedMaster) -> None:
    master.answers["watch"] = story(*added(starting()), modified(failed()))
    _, err = run("apply", "-f", "web.yaml", code=1)
    assert err == (
        "piccolo: workload web failed: ImageMissing: localhost/app:1 is not on n1;"
        " see: piccolo describe workload web\n"
    )
    found = json.loads(run("apply", "-f", "web.yaml", "-o", "json", code=1)[0])
    assert found["outcome"] == "failed"
    assert [w["reason"] for w in found["workloads"]] == ["ImageMissing"]


def test_what_is_unchanged_is_waited_for_when_it_is_on_its_way(master: ScriptedMaster) -> None:
    answer = wire.ApplyResponse(changes=[change(what="unchanged", generation=1)])
    master.answers["apply"] = lambda _: answer
    assert "Running, 1/1 ready" in run("apply", "-f", "web.yaml")[0]
    master.answers["watch"] = story(*added(workload()))
    assert run("apply", "-f", "web.yaml")[0] == "workload/web unchanged\n1 workload is as asked\n"
    master.answers["watch"] = story(*added(failed()))
    run("apply", "-f", "web.yaml", code=1)


def test_a_timeout_says_what_is_missing(master: ScriptedMaster) -> None:
    master.answers["watch"] = story(*added(starting()))
    out, err = run("apply", "-f", "web.yaml", "--timeout", "800ms", code=7)
    assert "  web: Starting, 0/1 ready: its image is pulled\n" in err
    assert "1 of 1 are not as asked yet" in err
    assert "The cluster goes on by itself" in err
    out, _ = run("apply", "-f", "web.yaml", "--timeout", "800ms", "-o", "json", code=7)
    assert json.loads(out)["outcome"] == "timedOut"


def test_a_lost_connection_while_waiting(master: ScriptedMaster) -> None:
    stories = [
        story(*added(starting()), goes_on=False),
        story(*added(starting(message="almost")), modified(workload())),
    ]
    master.answers["watch"] = lambda request: stories.pop(0)(request)
    out, err = run("apply", "-f", "web.yaml")
    assert out.endswith("1 workload is as asked\n")
    assert "almost" in out
    assert "trying again" in err
    assert len(master.requests("apply")) == 1


def test_a_change_that_the_master_refuses(master: ScriptedMaster) -> None:
    master.answers["apply"] = refuse(Unavailable("the store does not answer: nothing was changed"))
    _, err = run("apply", "-f", "web.yaml", code=4)
    assert err == "piccolo: the store does not answer: nothing was changed\n"


def test_a_connection_lost_during_the_change(master: ScriptedMaster) -> None:
    master.answers["apply"] = lambda _: HANG_UP
    _, err = run("apply", "-f", "web.yaml", code=4)
    assert "whether the change was taken is not known" in err
    assert len(master.requests("apply")) == 1
    _, err = run("diff", "-f", "web.yaml", code=4)
    assert "closed the connection" in err
    assert "not known" not in err


@pytest.mark.parametrize("when", ["waiting", "asking"])
def test_ctrl_c(master: ScriptedMaster, when: str) -> None:
    if when == "waiting":
        master.answers["watch"] = story(*added(starting()))
    else:
        master.answers["apply"] = story()  # never answers
    argv = [str(PICCOLO), "apply", "-f", "web.yaml", "--context", "./admin.yaml"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as done:
        end = time.monotonic() + 10
        while not master.requests("watch" if when == "waiting" else "apply"):
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.1)
        done.send_signal(signal.SIGINT)
        _, err = done.communicate(timeout=10)
    assert done.returncode == 130
    expected = "goes on by itself" if when == "waiting" else "taken is not known"
    assert expected in err
    assert "Traceback" not in err


def test_on_a_terminal_the_table_is_redrawn(master: ScriptedMaster) -> None:
    master.answers["watch"] = story(*added(starting()), modified(workload()), pause=0.5)
    ours, theirs = pty.openpty()
    argv = [str(PICCOLO), "apply", "-f", "web.yaml", "--context", "./admin.yaml"]
    env = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(argv, stdout=theirs, stderr=theirs, stdin=theirs, env=env) as program:
        os.close(theirs)
        text = _all_of(ours)
        assert program.wait(10) == 0
    os.close(ours)
    assert "WORKLOAD   STATE" in text
    assert "0 of 1 as asked" in text
    assert "\x1b[3A" in text  # title, row, status
    assert "1 workload is as asked" in text.splitlines()[-1]


def _all_of(terminal: int) -> str:
    found = b""
    while select.select([terminal], [], [], 10)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: the program has ended
            break
        if not data:
            break
        found += data
    return found.decode()


# ---- the other verbs ----


def test_delete(master: ScriptedMaster) -> None:
    changes = [change("web", "deleted", 3), change("db", "deleted", 1)]
    master.answers["delete_workloads"] = lambda _: wire.DeleteWorkloadsResponse(changes=changes)
    going = workload(deleting=True, settled=False, state="Stopping", wanted=0)
    master.answers["watch"] = story(*added(going), deleted("web"))
    out, _ = run("delete", "workload", "web", "db", "--cascade", "--ignore-missing")
    assert out.splitlines() == [
        "workload/web deleted",
        "workload/db deleted",
        "workload/web: Stopping, 1 left, on n1",
        "workload/web: gone",
        "2 workloads are gone",
    ]
    out, _ = run("delete", "-f", "web.yaml", "--dry-run")
    assert out.startswith("workload/web would be deleted\n")
    by_name, by_document = master.requests("delete_workloads")
    assert (by_name.names, by_name.cascade, by_name.ignore_missing) == (["web", "db"], True, True)
    assert not by_name.dry_run
    assert (by_document.names, by_document.sources[0].name) == ([], "web.yaml")
    assert by_document.dry_run


def test_a_deletion_tells_what_stops_later(master: ScriptedMaster) -> None:
    note = "one.0 on n1: its node is away; it stops there when it is back"
    changes = [change("one", "deleted", 1)]
    answer = wire.DeleteWorkloadsResponse(changes=changes, notices=[note])
    master.answers["delete_workloads"] = lambda _: answer
    master.answers["watch"] = story(*added())
    out, err = run("delete", "workload", "workload/one")
    assert out.splitlines()[-1] == "1 workload is gone, except where a note says otherwise"
    assert err == f"note: {note}\n"
    assert master.requests("delete_workloads")[0].names == ["one"]
    out, _ = run("delete", "workload", "one", "-o", "json")
    assert [n["message"] for n in json.loads(out)["notices"]] == [note]


def test_delete_of_nothing_and_of_what_others_need(master: ScriptedMaster) -> None:
    master.answers["delete_workloads"] = lambda _: wire.DeleteWorkloadsResponse()
    _, err = run("delete", "workloads", "web", "--ignore-missing")
    assert err == "piccolo: nothing to delete\n"
    master.answers["delete_workloads"] = refuse(Conflict("app depends on web: use --cascade"))
    assert "--cascade" in run("delete", "workload", "web", code=5)[1]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["delete"], "delete what?"),
        (["delete", "--cascade", "workload", "web"], "piccolo delete workload NAME --cascade"),
        (["delete", "-f", "web.yaml", "workload", "web"], "not both"),
        (["apply", "-f", "web.yaml", "--timeout", "0"], "--timeout: 0 is not possible"),
        (["apply", "-f", "web.yaml", "--timeout", "soon"], '--timeout: "soon" is not a duration'),
        (["rollback", "workload", "web", "--to", "0"], "--to"),
    ],
)
def test_wrong_usage(master: ScriptedMaster, args: list[str], reason: str) -> None:
    done = piccolo(*args, home=Path.cwd())
    assert done.returncode == 2
    assert reason in done.stderr
    assert master.asked == []


def test_restart(master: ScriptedMaster) -> None:
    answer = wire.RestartWorkloadsResponse(changes=[change("web", "restarted", 2)])
    master.answers["restart_workloads"] = lambda _: answer
    master.answers["watch"] = story(
        *added(starting(generation=2)), modified(workload(generation=2))
    )
    out, _ = run("restart", "workload", "web")
    assert out.startswith("workload/web restarted (generation 2)\n")
    assert out.endswith("1 workload is as asked\n")
    assert master.requests("restart_workloads")[0].names == ["web"]


def test_rollback(master: ScriptedMaster) -> None:
    back = changed()
    back.what = "rolled back"
    master.answers["roll_back_workload"] = lambda _: wire.RollBackWorkloadResponse(change=back)
    master.answers["watch"] = story(*added(workload("db", generation=4)))
    out, _ = run("rollback", "workload", "db", "--to", "2")
    assert out.startswith("workload/db rolled back (generation 4)\n  containers[0].image: ")
    out, _ = run("rollback", "workload", "db", "--dry-run")
    assert out.startswith("workload/db would be rolled back (generation 4)\n")
    assert [(r.to, r.dry_run) for r in master.requests("roll_back_workload")] == [
        (2, False),
        (0, True),
    ]
