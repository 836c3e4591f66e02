"""Frames in pieces of any size, lines of any length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from piccolo.runtime.podman.multiplex import LINE_CHARS, Frames, LastLines, shown


def frame(data: bytes, stream: int = 1) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4) + data


@given(st.lists(st.binary(max_size=9), max_size=5), st.integers(1, 9))
def test_frames_in_pieces(outputs: list[bytes], size: int) -> None:
    whole = b"".join(frame(output, 1 + n % 2) for n, output in enumerate(outputs))
    frames = Frames()
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert b"".join(map(frames.feed, pieces)) == b"".join(outputs)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])), max_size=6),
    st.integers(1, 4),
    st.integers(1, 7),
)
def test_lines_in_pieces(lines: list[str], count: int, size: int) -> None:
    whole = "".join(f"{line}\n" for line in lines).encode()
    last = LastLines(count)
    for at in range(0, len(whole), size):
        last.feed(whole[at : at + size])
    assert last.take() == [line[:LINE_CHARS] for line in lines][-count:]


def test_a_line_that_has_not_ended_counts() -> None:
    last = LastLines(2)
    last.feed(b"a\nb\nc")
    assert last.take() == ["b", "c"]
    nothing = LastLines(0)
    nothing.feed(b"a\nb")
    assert nothing.take() == []


def test_an_endless_line_costs_nothing() -> None:
    last = LastLines(1)
    for _ in range(1000):
        last.feed(b"x" * 10_000)
    assert last.take() == ["x" * LINE_CHARS]


def test_what_is_shown_commands_no_terminal() -> None:
    assert shown("\x1b[31;1mred\x1b[0m\x1b]0;title\x07 a\tb\r\x00\x7f\x9b") == "red]0;title a\tb"
    assert shown("größe ☃\n") == "größe ☃\n"
