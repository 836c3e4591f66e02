"""What a YAML parser complains about, in words that help the person who wrote the file."""

from __future__ import annotations

import re

import yaml

from piccolo.core.words import show

_LEADING_TAB = re.compile(r" *\t")

# Parts of libyaml's and PyYAML's messages, which differ in wording.
_REASONS = (
    (
        "mapping values are not allowed",
        'a ":" does not belong here: check the indentation of this line and the one before, or'
        " put the text in quotes",
    ),
    ("could not find expected ':'", 'a ":" is missing after a key, or the text needs quotes'),
    (
        "did not find expected key",
        "the indentation of this line does not match the lines before it, or a value is not"
        " complete",
    ),
    (
        "but found '<block mapping start>'",
        "the indentation of this line does not match the lines before it",
    ),
    ("did not find expected '-' indicator", 'an item that begins with "- " was expected here'),
    (
        "cannot start any token",
        "this character cannot begin a value: put the text in quotes",
    ),
    (
        "did not find expected <document start>",
        "this belongs to nothing before it: check the indentation, or put the text in quotes",
    ),
    ("duplicate anchor", "this anchor (&…) is defined twice"),
)


def reworded(error: yaml.MarkedYAMLError, text: str) -> str:
    """One line without a place; the caller has the mark."""
    mark = error.problem_mark
    problem = error.problem or str(error.context)
    if mark is not None:
        lines = text.split("\n")
        if mark.line < len(lines) and _LEADING_TAB.match(lines[mark.line]):
            return "a tab is used for indentation: YAML takes spaces only"
    if "unexpected end of stream" in problem and "quoted" in (error.context or ""):
        begun = error.context_mark
        return f"a quote is not closed{f': it opens on line {begun.line + 1}' if begun else ''}"
    for part, reason in _REASONS:
        if part in problem:
            return reason
    return f"this is not YAML: {show(problem)[1:-1]}"
