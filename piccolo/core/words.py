"""How configuration errors word things: values in quotes, suggestions, lists of choices.

What it guarantees: whatever a file holds, an error message about it is one short line that a
terminal can print.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_LONGEST = 60


def printable(text: str) -> str:
    """`text` with everything escaped that a terminal might obey, or that cannot be encoded."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def show(value: object) -> str:
    """A value as it stands in a message: text in quotes, long text cut, collections by kind."""
    if isinstance(value, str):
        cut = value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
        return f'"{printable(cut)}"'
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)[:_LONGEST]
    return kind(value)


def kind(value: object) -> str:
    """What sort of thing a value is, in the words of someone who writes YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | tuple):
        return "a list"
    return "a mapping (key: value)"


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or nothing when no known word resembles this one."""
    import difflib  # only where something is wrong: the lean agent process imports this module

    folded = {k.lower().replace("_", "").replace("-", ""): k for k in known}
    close = difflib.get_close_matches(
        word[:_LONGEST].lower().replace("_", "").replace("-", ""), folded, n=1, cutoff=0.6
    )
    return f'; did you mean "{folded[close[0]]}"?' if close else ""


def choices(options: Iterable[str]) -> str:
    """`a, b or c`."""
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last


def some(names: Sequence[str], most: int) -> str:
    """The first `most` of them, and how many more there are: `a, b, c and 4 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
