"""How waiting looks, on a terminal and elsewhere."""

from __future__ import annotations

import re
import shutil
from os import terminal_size

import pytest

from piccolo.cli.workloads.goals import Goal, Progress, Stage, Step
from piccolo.cli.workloads.live import Live, Plain, line_of, table
from piccolo.rpc import wire
from tests.cli.workloads.served import (
    added,
    deleted,
    failed,
    instance,
    modified,
    starting,
    workload,
)


def progress(*names: str) -> Progress:
    return Progress.of(Goal(name) for name in names)


def feed(display: Live | Plain, p: Progress, *responses: wire.WatchResponse) -> None:
    for response in responses:
        p.take(response)
        display.show(p)


def step(w: wire.Workload, stage: Stage = Stage.OPEN) -> Step:
    return Step(Goal(w.name), stage, w)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: terminal_size((60, 10)))
    return Clock()


def screen(text: str) -> list[str]:
    """What a terminal shows after this. Knows what `Live` writes, and refuses all else."""
    lines = [""]
    row = 0
    for token in re.findall(r"\x1b\[[0-9?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif token == "\r":
            pass  # always at the beginning of a line here, or before a new one
        elif token == "\x1b[J":
            lines[row:] = [""]
        elif token.endswith("A"):
            row -= int(token[2:-1])
            assert row >= 0, "above the screen"
        elif token == "\x1b[K":
            pass  # the line was written from its beginning
        elif token.startswith("\x1b"):
            assert token in ("\x1b[?7l", "\x1b[?7h"), token
        else:
            lines[row] = token
    return [line for line in lines if line]


def test_the_table_is_redrawn_in_place(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    live, p = Live(clock), progress("db", "web")
    print("workload/web created")
    feed(live, p, *added(starting("db"), workload("web")))
    clock.now += 2
    live.tick()
    written = capsys.readouterr().out
    assert screen(written) == [
        "workload/web created",
        "WORKLOAD   STATE      READY   NODES   MESSAGE",
        "db         Starting   0/1     n1      its image is pulled",
        "web        Running    1/1     n1",
        "/ 1 of 2 as asked, 2s",
    ]
    feed(live, p, modified(failed("db", message="")))
    live.note("127.0.0.1:1 closed the connection")
    live.tick()
    written += capsys.readouterr().out
    assert screen(written)[-1] == (
        "- 1 of 2 as asked, 2s, 1 failed; 127.0.0.1:1 closed the connection"
    )
    live.close()
    print("that was it")
    assert screen(written + capsys.readouterr().out) == [
        "workload/web created",
        "WORKLOAD   STATE     READY   NODES   MESSAGE",
        "db         Failed    0/1     n1      ImageMissing",
        "web        Running   1/1     n1",
        "that was it",
    ]


def test_what_is_quick_draws_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    live, p = Live(clock), progress("web")
    clock.now += 0.9
    live.tick()
    live.close()
    feed(live, p, *added(workload("web")))
    live.tick()
    live.close()
    assert capsys.readouterr().out == ""


def test_a_master_that_does_not_answer(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    live = Live(clock)
    clock.now += 3
    live.tick()
    written = capsys.readouterr().out
    assert screen(written) == ["/ no answer from the master yet, 3s"]
    live.close()
    print("workload/web created")
    assert screen(written + capsys.readouterr().out) == ["workload/web created"]


def test_many_workloads_fit_the_terminal() -> None:
    steps = [step(workload(f"w{n}"), Stage.DONE) for n in range(150)]
    steps += [step(starting("open")), step(failed("bad"), Stage.FAILED)]
    lines = table(steps, width=80, height=7)
    assert len(lines) == 7
    assert [line.split()[0] for line in lines[1:-1]] == ["bad", "open", "w0", "w1", "w2"]
    assert lines[-1] == "… and 147 more"


@pytest.mark.parametrize("height", [-1, 0, 1, 2, 3])
def test_a_terminal_of_hardly_any_height(height: int) -> None:
    lines = table([step(workload(f"w{n}")) for n in range(9)], 80, height)
    assert len(lines) <= max(height, 3)
    assert len(lines[1].split()) > 1


def test_messages_are_cut_to_the_width() -> None:
    lines = table([step(starting(message="x" * 500))], width=70, height=10)
    assert max(map(len, lines)) == 70


def test_control_characters_stay_out_of_the_table() -> None:
    w = starting(message="a\x1b[2Jb\nc", state="\x1b]0;x", instances=[instance(node="n\r1")])
    text = "".join(table([step(w)], 80, 10)) + line_of(step(w))
    assert text.isprintable()


def test_lines_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    plain, p = Plain(), progress("db", "old", "web")
    feed(plain, p, *added(starting("db"), workload("old"), workload("web", settled=False)))
    assert capsys.readouterr().out.splitlines() == [
        "workload/db: Starting, 0/1 ready, on n1: its image is pulled",
        "workload/web: Running, 1/1 ready, on n1",
    ]
    feed(plain, p, modified(starting("db", restarts=1)))  # nothing that is shown
    assert capsys.readouterr().out == ""
    feed(plain, p, modified(workload("db")), deleted("web"))
    assert capsys.readouterr().out.splitlines() == [
        "workload/db: Running, 1/1 ready, on n1",
        "workload/web: deleted: somebody deleted it meanwhile",
    ]


def test_what_is_tried_again_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    plain, p = Plain(), progress("db")
    for text in ("a; trying again", "b; trying again", "a; trying again"):
        plain.note(text)
    assert capsys.readouterr().err.splitlines() == [
        "piccolo: a; trying again",
        "piccolo: b; trying again",
    ]
    feed(plain, p, *added(starting("db")))  # and the connection is lost anew
    plain.note("a; trying again")
    assert "piccolo: a; trying again" in capsys.readouterr().err


def test_an_older_generation_says_what_it_waits_for() -> None:
    found = Step(Goal("web", 5), Stage.OPEN, workload(generation=4))
    assert line_of(found).endswith("on n1: generation 4, waits for 5")
