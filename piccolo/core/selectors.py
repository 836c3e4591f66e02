"""Selectors: which objects a client asks for.

The grammar is Kubernetes' equality form, with fields beside labels::

    zone=front,.arch!=arm64,canary,!old,.status=Ready

Terms are joined by commas and all must hold. `key` asks for a label, `.field` for a field of the
object. Two equal signs mean the same as one. A field that does not exist is an error, a label
that does not exist is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import show

_TERM = re.compile(
    r"(?P<absent>!)?(?P<key>\.?[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?)"
    r"(?:\s*(?P<op>!=|==?)(?P<value>[^,=!]*))?"
)
_LABEL_KEY = re.compile(
    r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True)
class _Term:
    key: str
    wanted: str | None  # None: that it exists
    negated: bool

    def holds(self, found: str | None) -> bool:
        if self.wanted is None:
            return (found is None) is self.negated
        return (found == self.wanted) is not self.negated


Selector = Callable[[Mapping[str, str], Mapping[str, str]], bool]


def parse(text: str, fields: frozenset[str]) -> Selector:
    """A predicate over (labels, fields). Raises `InvalidSpec` naming the term that is wrong."""
    terms = [_parse_term(t.strip(), fields) for t in text.split(",")] if text.strip() else []

    def selected(labels: Mapping[str, str], values: Mapping[str, str]) -> bool:
        return all(
            t.holds(values.get(t.key[1:]) if t.key.startswith(".") else labels.get(t.key))
            for t in terms
        )

    return selected


def _parse_term(text: str, fields: frozenset[str]) -> _Term:
    match = _TERM.fullmatch(text)
    if match is None or (match["absent"] and match["op"]):
        raise InvalidSpec(
            f"selector term {show(text)} is not understood; write key=value, key!=value, key or"
            " !key"
        )
    key = match["key"]
    if key.startswith(".") and key[1:] not in fields:
        known = ", ".join(f".{f}" for f in sorted(fields))
        raise InvalidSpec(f'selector names the field "{key}"; there are {known}')
    if match["op"] is None:
        return _Term(key, None, bool(match["absent"]))
    return _Term(key, match["value"].strip(), match["op"] == "!=")


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises `InvalidSpec` for the first label that is not in Kubernetes' form."""
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise InvalidSpec(
                f'label key {show(key)} is not valid: letters, digits, "-", "_" and "." (at most'
                ' 63), optionally behind a "domain/"'
            )
        if not _LABEL_VALUE.fullmatch(value):
            raise InvalidSpec(
                f'label {key}: value {show(value)} is not valid: at most 63 letters, digits, "-",'
                ' "_" and ".", beginning and ending with a letter or digit'
            )
