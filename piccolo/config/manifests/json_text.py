"""What JSON may be and YAML may not, so that one parser with places serves both.

JSON (RFC 8259) is almost YAML: only tabs that indent, and characters beyond U+FFFF escaped as two
surrogates, are not. Lines stay what they are; columns too, but for such escapes.
"""

from __future__ import annotations

import json
import re

_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_ESCAPE = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def as_yaml(text: str) -> str:
    """`text`, if it is one JSON text in a way that is valid YAML; else unchanged."""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return text
    try:
        json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return text
    # A line cannot begin within a string of JSON, so this touches no value.
    text = _INDENT.sub(lambda found: found[0].replace("\t", " "), text)
    return _ESCAPE.sub(_joined, text)


def _joined(found: re.Match[str]) -> str:
    if found[1] is None:  # an escaped backslash: what follows it is text
        return found[0]
    code = 0x10000 + ((int(found[1], 16) - 0xD800) << 10) + int(found[2], 16) - 0xDC00
    return f"\\U{code:08x}"
