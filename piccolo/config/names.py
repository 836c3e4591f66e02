"""Names of nodes and clusters: RFC 1123 labels, so that they can be host names and file names."""

from __future__ import annotations

import re

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import show

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_INVALID = re.compile(r"[^a-z0-9]+")


def check_name(text: str) -> str:
    """`text` itself. Raises `InvalidSpec`, with a name that would do where there is one."""
    if _NAME.fullmatch(text):
        return text
    better = made_valid(text)
    raise InvalidSpec(
        f'{show(text)} is not a name: use lower-case letters, digits and "-", at most 63, with a'
        " letter or digit first and last" + (f'; "{better}" would do' if better else "")
    )


def made_valid(text: str) -> str:
    """The nearest name to `text`, or "" when nothing of it can stay."""
    return _INVALID.sub("-", text.lower()).strip("-")[:63].rstrip("-")


def name_of_host(hostname: str) -> str:
    """A node name from a host name: its first label, made valid.

    "" when that tells machines apart no better than chance: nothing is left, or `localhost`.
    """
    name = made_valid(hostname.partition(".")[0])
    return "" if name == "localhost" else name
