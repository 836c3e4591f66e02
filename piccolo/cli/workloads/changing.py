"""What all verbs have in common that change workloads: what they print, wait for, and end with."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import typer

from piccolo.cli import exit_codes
from piccolo.cli.client import Stub
from piccolo.cli.options import Output
from piccolo.cli.output import age_of, clean, dump, paint, say
from piccolo.cli.show.workload_rows import workload_dict
from piccolo.cli.workloads import change_rows as rows
from piccolo.cli.workloads.goals import Goal, Progress, Stage, Step
from piccolo.cli.workloads.live import cells, display_for
from piccolo.cli.workloads.waiting import Change, Interrupted
from piccolo.rpc import wire

_NAMED = 5  # workloads in one message


@dataclass(frozen=True, slots=True)
class Answer:
    """What the master says to a change, whichever it was."""

    changes: Sequence[wire.ObjectChange]
    plan: Sequence[wire.PlanStep] = ()
    problems: Sequence[wire.DocumentFinding] = ()
    notices: Sequence[wire.DocumentFinding] = ()
    revision: int = 0

    @property
    def differs(self) -> bool:
        return any(change.what != "unchanged" for change in self.changes)


@dataclass(frozen=True, slots=True)
class How:
    """What the options of a command say."""

    output: Output = Output.TABLE
    context: str = ""
    master: Sequence[str] | None = None
    patience: float = 300.0  # s
    wait: bool = True
    dry_run: bool = False
    diff: bool = False
    none: str = "nothing to change"  # said when the answer names no object


def carry_out(ask: Callable[[Stub], Coroutine[Any, Any, Answer]], how: How) -> NoReturn:
    """Ask for a change, print the answer, wait where that is wanted; ends the command."""
    raise typer.Exit(_carry_out(ask, how).code)


def compare(ask: Callable[[Stub], Coroutine[Any, Any, Answer]], how: How) -> NoReturn:
    """The same for a dry run: the exit code says whether there are differences, as diff(1)'s."""
    done = _carry_out(ask, how)
    raise typer.Exit(done.code or (exit_codes.FAILED if done.answer.differs else exit_codes.OK))


@dataclass(frozen=True, slots=True)
class _Done:
    answer: Answer
    code: int


def _carry_out(ask: Callable[[Stub], Coroutine[Any, Any, Answer]], how: How) -> _Done:
    import time

    answers: list[Answer] = []
    begun = time.monotonic()

    def answered(answer: Answer) -> list[Goal]:
        answers.append(answer)
        _print(answer, how)
        return goals(answer) if how.wait and not how.dry_run else []

    change = Change(ask, answered, how.patience, display_for(how.output), how.dry_run)
    try:
        progress = change.carry_out(how.master, how.context)
    except Interrupted as interrupted:
        say(_interrupted(interrupted, how))
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    [answer] = answers
    if how.output in (Output.JSON, Output.YAML):
        dump(document(answer, progress, how), how.output)
    if answer.problems:
        return _Done(answer, exit_codes.USAGE)
    return _Done(answer, _end(answer, progress, time.monotonic() - begun, how))


def goals(answer: Answer) -> list[Goal]:
    """A workload that is unchanged may still be on its way."""
    workloads = [c for c in answer.changes if c.kind == "Workload"]
    return [
        Goal(c.name, gone=True) if c.what == "deleted" else Goal(c.name, c.generation)
        for c in workloads
    ]


def _print(answer: Answer, how: How) -> None:
    if how.output in (Output.JSON, Output.YAML):
        return  # all of it at the end, as one document
    rows.print_findings(answer.problems, answer.notices)
    if answer.problems:
        count = len(answer.problems)
        say(f"{count} problem{'' if count == 1 else 's'}: nothing was changed")
    elif how.output is Output.NAME:
        for change in answer.changes:
            print(rows.change_name(change), flush=True)
    else:
        rows.print_changes(answer.changes, dry_run=how.dry_run, diff=how.diff)
        if how.dry_run:
            rows.print_plan(answer.plan)
        if not answer.changes:
            say(how.none)
    print(end="", flush=True)


def document(answer: Answer, progress: Progress, how: How) -> dict[str, Any]:
    """For programs. `outcome`: asAsked, failed, timedOut; none where nothing was waited for."""
    found: dict[str, Any] = {
        "dryRun": how.dry_run,
        "problems": [rows.finding_dict(f) for f in answer.problems],
        "notices": [rows.finding_dict(f) for f in answer.notices],
        "changes": [rows.change_dict(c) for c in answer.changes],
        "plan": [rows.step_dict(s) for s in answer.plan],
        "revision": answer.revision,
    }
    if progress.goals:
        found["outcome"] = _outcome(progress)
        found["workloads"] = [workload_dict(s.seen) for s in progress.steps if s.seen is not None]
    return found


def _outcome(progress: Progress) -> str:
    if not progress.over:
        return "timedOut"
    return "failed" if progress.at(Stage.FAILED) else "asAsked"


def _end(answer: Answer, progress: Progress, passed: float, how: How) -> int:
    """The last words, and the exit code."""
    if not progress.goals:
        return exit_codes.OK
    for step in progress.at(Stage.FAILED)[:_NAMED]:
        say(failure_text(step))
    if (more := len(progress.at(Stage.FAILED)) - _NAMED) > 0:
        say(f"and {more} more have failed: piccolo get workloads")
    if not progress.over:
        say(missing_text(progress, how))
    if progress.at(Stage.FAILED):
        return exit_codes.FAILED
    if not progress.over:
        return exit_codes.TIMED_OUT
    if how.output in (Output.TABLE, Output.WIDE):
        print(summary(progress, passed, noted=bool(answer.notices)))
    return exit_codes.OK


def summary(progress: Progress, passed: float, *, noted: bool = False) -> str:
    """`noted`: the answer had notes, which of a deletion say what is not gone yet."""
    count = len(progress.goals)
    they, are = ("it", "is") if count == 1 else ("they", "are")
    text = f"{count} workload{'' if count == 1 else 's'} {are} "
    after = f", after {age_of(passed)}" if passed >= 1 else ""
    if all(goal.gone for goal in progress.goals.values()):
        if noted:
            return paint(f"{text}gone, except where a note says otherwise", "yellow") + after
        return paint(f"{text}gone", "green") + after
    if partial := [step for step in progress.steps if _is_partial(step)]:
        where = "; ".join(map(_partial_text, partial[:_NAMED]))
        more = f"; and {len(partial) - _NAMED} more" if len(partial) > _NAMED else ""
        return paint(f"{text}as asked where {they} can be", "yellow") + f"{after}: {where}{more}"
    return paint(f"{text}as asked", "green") + after


def _is_partial(step: Step) -> bool:
    """Settled and not failed, and yet not all copies are well: a node is away, for example."""
    return step.stage is Stage.DONE and step.seen is not None and step.seen.ready < step.seen.wanted


def _partial_text(step: Step) -> str:
    name, _, ready, _, message = cells(step)
    return f"{name}: {ready} ready{f', {message}' if message else ''}"


def failure_text(step: Step) -> str:
    name, state, _, _, message = cells(step)
    reason = clean(step.seen.reason) if step.seen and step.seen.reason else ""
    because = ": ".join(dict.fromkeys(p for p in (reason, message) if p)) or state
    after = f"see: piccolo describe workload {name}" if step.seen else "see: piccolo get events"
    return f"workload {name} failed: {because}; {after}"


def missing_text(progress: Progress, how: How) -> str:
    waiting = progress.at(Stage.OPEN)
    parts = []
    for step in waiting[:_NAMED]:
        name, state, ready, _, message = cells(step)
        parts.append(f"  {name}: {state}, {ready} ready{f': {message}' if message else ''}\n")
    if (more := len(waiting) - _NAMED) > 0:
        parts.append(f"  … and {more} more\n")
    return (
        f"after {age_of(how.patience)}, {len(waiting)} of {len(progress.goals)} are not as asked"
        f" yet:\n{''.join(parts)}The cluster goes on by itself. To see how: piccolo get workloads"
        " -w; to wait longer: --timeout"
    )


def _interrupted(by: Interrupted, how: How) -> str:
    if by.answered and not how.dry_run:
        return (
            "stopped waiting; the cluster goes on by itself. To see how: piccolo get workloads -w"
        )
    if by.sent and not how.dry_run:
        return (
            "interrupted before the master answered: whether the change was taken is not known;"
            " see: piccolo get workloads"
        )
    return "interrupted; nothing was changed"
