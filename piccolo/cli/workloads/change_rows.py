"""What a change does, and what is wrong with documents: as lines for people, and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from piccolo.cli.output import Column, Table, clean, note, paint
from piccolo.rpc import wire

_LONGEST = 120  # characters of a value in a difference
_AROUND = 20  # of them before the first that differs

_COLOURS = {"created": "green", "changed": "yellow", "deleted": "red", "unchanged": "grey"}


def finding_text(f: wire.DocumentFinding) -> str:
    """As `piccolo validate` writes it."""
    place = f":{f.line}:{f.column}" if f.line else ""
    return clean(f"{f.source}{place}: {f.message}" if f.source else f.message)


def print_findings(
    problems: Iterable[wire.DocumentFinding], notices: Iterable[wire.DocumentFinding]
) -> None:
    """On stderr: they are no part of what the command prints."""
    for problem in problems:
        print(f"{paint('✗', 'red')} {finding_text(problem)}", file=sys.stderr)
    for notice in notices:
        note(finding_text(notice))


def change_name(c: wire.ObjectChange) -> str:
    return clean(f"{c.kind.lower()}/{c.name}")


def print_changes(changes: Iterable[wire.ObjectChange], *, dry_run: bool, diff: bool) -> None:
    for change in changes:
        what = clean(change.what)
        text = f"would be {what}" if dry_run and what != "unchanged" else what
        text = paint(text, _COLOURS.get(what, "yellow"))
        new = change.generation > 1 and what not in ("unchanged", "deleted")
        print(f"{change_name(change)} {text}{f' (generation {change.generation})' if new else ''}")
        if diff:
            for field in change.fields:
                print(f"  {field_text(field)}")


def field_text(f: wire.FieldChange) -> str:
    """`containers[0].image: "a" -> "b"`; of long values the part where they differ."""
    before, after = _around(f.before, f.after)
    old = paint(clean(before), "red") if f.before else "-"
    new = paint(clean(after), "green") if f.after else "-"
    return f"{clean(f.path)}: {old} -> {new}"


def _around(before: str, after: str) -> tuple[str, str]:
    if max(len(before), len(after)) <= _LONGEST:
        return before, after
    pairs = enumerate(zip(before, after, strict=False))
    differ = next((n for n, (a, b) in pairs if a != b), min(len(before), len(after)))
    start = max(0, differ - _AROUND)
    return _part(before, start), _part(after, start)


def _part(text: str, start: int) -> str:
    end = start + _LONGEST
    return ("…" if start else "") + text[start:end] + ("…" if len(text) > end else "")


PLAN_COLUMNS: list[Column[wire.PlanStep]] = [
    Column("DO", lambda s: s.verb),
    Column("INSTANCE", lambda s: f"{s.workload}.{s.index}"),
    Column("NODE", lambda s: s.node_name),
    Column("BECAUSE", lambda s: s.reason),
]


def print_plan(plan: Sequence[wire.PlanStep]) -> None:
    """What follows from these steps is planned when they are done."""
    if plan:
        print("\nFirst steps:")
        Table(PLAN_COLUMNS, wide=False).print(plan)


def finding_dict(f: wire.DocumentFinding) -> dict[str, Any]:
    return {"source": f.source, "line": f.line, "column": f.column, "message": f.message}


def change_dict(c: wire.ObjectChange) -> dict[str, Any]:
    return {
        "kind": c.kind,
        "name": c.name,
        "what": c.what,
        "generation": c.generation,
        "fields": [field_dict(f) for f in c.fields],
    }


def field_dict(f: wire.FieldChange) -> dict[str, Any]:
    """A value that is not there has no key."""
    found: dict[str, Any] = {"path": f.path}
    for key, text in (("before", f.before), ("after", f.after)):
        if text:
            found[key] = _value(text)
    return found


def _value(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def step_dict(s: wire.PlanStep) -> dict[str, Any]:
    return {
        "verb": s.verb,
        "workload": s.workload,
        "index": s.index,
        "node": s.node_name,
        "reason": s.reason,
    }
