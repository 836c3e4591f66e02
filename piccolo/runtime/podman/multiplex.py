"""Podman's stream of a container's output: frames of standard output and error, each with a head
of eight bytes (Docker Engine API, "Attach to a container"). Pure; keeps a bounded amount.
"""

from __future__ import annotations

import codecs
import re
from collections import deque

LINE_CHARS = 500
_HEAD = 8
_UNSEEN = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Frames:
    """Takes the heads out of what comes, in pieces of any size."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """The output in `data`."""
        found = bytearray()
        while data:
            if self._left:
                found += data[: self._left]
                taken = min(self._left, len(data))
                self._left -= taken
            else:
                taken = _HEAD - len(self._head)
                self._head += data[:taken]
                if len(self._head) == _HEAD:
                    self._left = int.from_bytes(self._head[4:])
                    self._head.clear()
            data = data[taken:]
        return bytes(found)


class LastLines:
    """The last `count` lines of output, each cut to `LINE_CHARS`, and fit to be shown."""

    __slots__ = ("_begun", "_decode", "_lines")

    def __init__(self, count: int) -> None:
        self._lines: deque[str] = deque(maxlen=max(count, 0))
        self._begun = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, output: bytes) -> None:
        *ended, rest = self._decode(output).split("\n")
        for text in ended:
            self._lines.append(self._begun + text[: LINE_CHARS * 2])
            self._begun = ""
        if len(self._begun) < LINE_CHARS * 2:
            self._begun += rest[: LINE_CHARS * 2]

    def take(self) -> list[str]:
        """Oldest first. What comes afterwards begins a new line."""
        if self._begun:
            self._lines.append(self._begun)
            self._begun = ""
        return [shown(line)[:LINE_CHARS] for line in self._lines]


def shown(text: str) -> str:
    """Without control characters, and what terminals take for commands; tabs and ends of lines
    stay."""
    return _UNSEEN.sub("", text)
