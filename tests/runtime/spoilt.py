"""JSON that nobody should send, for what decodes it."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["\ud800", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "", "4"])
    | st.datetimes().map(datetime.isoformat),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Id", "ID", "Actor", "cause", "message", "Error", "Stats", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def _paths(value: object, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [here, *(path for key, inner in below for path in _paths(inner, (*here, key)))]


@st.composite
def spoilt(draw: st.DrawFn, recorded: object) -> bytes:
    """What was recorded, with up to three values replaced or gone, or bytes flipped."""
    value: Any = copy.deepcopy(recorded)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(value)))
        if not path:
            value = draw(anything)
            break
        *way, last = path
        inner = value
        for key in way:
            inner = inner[key]
        if draw(st.booleans()):
            inner[last] = draw(anything)
        else:
            del inner[last]
    body = json.dumps(value).encode()
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    return body


def sound(text: str) -> None:
    """It can be sent on."""
    text.encode()
