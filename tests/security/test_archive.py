"""The encrypted file of a backup: whole or refused, and each refusal says why."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piccolo.core.errors import InvalidSpec, PermissionDenied, PiccoloError, Unavailable
from piccolo.security import archive
from piccolo.security.archive import FRAME, Cost, seal, unseal

PASSPHRASE = "correct horse battery staple"
TINY = Cost(n=2, r=1, p=1)
ABOUT = {"cluster": "lab", "revision": 7}


def sealed(data: bytes, passphrase: str = PASSPHRASE) -> bytes:
    return b"".join(seal(ABOUT, passphrase, [data], TINY))


def opened(file: bytes, passphrase: str = PASSPHRASE) -> tuple[dict[str, Any], bytes]:
    about, pieces = unseal(io.BytesIO(file), passphrase)
    return about, b"".join(pieces)


def frames(file: bytes) -> tuple[bytes, list[bytes]]:
    """The lines of text, and the frames."""
    first, second, third, rest = file.split(b"\n", 3)
    found = []
    while rest:
        end = 4 + (int.from_bytes(rest[:4], "big") & 0x7FFFFFFF)
        found.append(rest[:end])
        rest = rest[end:]
    return b"\n".join((first, second, third, b"")), found


def begun(second: bytes, proof: bytes = bytes(20)) -> bytes:
    """The beginning of a file, with a checksum that fits."""
    head = b"PICCOLO BACKUP 1\n" + second + b"\n"
    return head + archive._checksum(head, proof) + proof


LONG = sealed(bytes(range(256)) * 600)  # three frames, and the empty one


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME])
def test_what_goes_in_comes_out(size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    assert opened(sealed(data)) == (ABOUT, data)


def test_it_does_not_matter_in_which_pieces_it_comes() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a" * (FRAME + 3)
        yield b""
        yield b"b" * (2 * FRAME)

    file = b"".join(seal(ABOUT, PASSPHRASE, pieces(), TINY))
    assert opened(file)[1] == b"a" * (FRAME + 3) + b"b" * (2 * FRAME)


def test_nothing_can_be_read_in_it_and_no_two_are_alike() -> None:
    file = sealed(b"the secret of the gate" * 10)
    assert b"secret of" not in file
    assert frames(file)[1][1] != frames(sealed(b"the secret of the gate" * 10))[1][1]


def test_the_wrong_passphrase_is_told_at_once() -> None:
    with pytest.raises(PermissionDenied, match="passphrase is not that of this backup"):
        unseal(io.BytesIO(LONG), "incorrect horse battery")


@pytest.mark.parametrize("short", ["", "eleven char", "x" * 1025])
def test_a_passphrase_that_protects_nothing_is_refused(short: str) -> None:
    with pytest.raises(InvalidSpec, match="a passphrase has 12 to 1024 characters") as refused:
        sealed(b"", short)
    assert not short or short not in str(refused.value)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_says_so(kept: float) -> None:
    head, _ = frames(LONG)
    size = len(head) + int((len(LONG) - len(head)) * kept)
    with pytest.raises(InvalidSpec, match="cut off"):
        opened(LONG[:size])


def test_so_does_one_of_which_only_the_beginning_is_there() -> None:
    head, (proof, *_) = frames(LONG)
    for size in range(1, len(head + proof)):
        with pytest.raises(InvalidSpec, match="cut off"):
            opened(LONG[:size])


def test_damage_at_the_beginning_is_no_wrong_passphrase() -> None:
    head, (proof, *_) = frames(LONG)
    for at in range(len(b"PICCOLO BACKUP 1"), len(head + proof)):
        spoilt = LONG[:at] + bytes([LONG[at] ^ 1]) + LONG[at + 1 :]
        with pytest.raises(InvalidSpec, match="damaged at its beginning"):
            opened(spoilt)


def test_frames_keep_their_number_and_their_order() -> None:
    head, (empty, one, two, last) = frames(LONG)
    for wrong in (
        [empty, two, one, last],
        [empty, one, last],
        [empty, one, one, two, last],
        [empty, one, two[:4].replace(b"\0", b"\x80", 1) + two[4:]],  # as if it were the last
    ):
        with pytest.raises(InvalidSpec, match=r"damaged, or was changed, behind byte \d+"):
            opened(head + b"".join(wrong))
    with pytest.raises(InvalidSpec, match="cut off"):
        opened(head + empty + one + two)
    with pytest.raises(InvalidSpec, match="added behind the end"):
        opened(LONG + last)


def test_frames_of_another_file_are_refused() -> None:
    (head, mine), (_, others) = frames(sealed(b"a")), frames(sealed(b"a"))
    with pytest.raises(InvalidSpec, match="damaged"):
        opened(head + mine[0] + others[1])


def test_what_anybody_may_read_cannot_be_changed() -> None:
    changed = LONG.replace(b'"revision": 7', b'"revision": 8')
    with pytest.raises(InvalidSpec, match="damaged at its beginning"):
        opened(changed)
    head, (proof, *rest) = frames(changed)
    on_purpose = begun(head.splitlines()[1], proof) + b"".join(rest)
    with pytest.raises(PermissionDenied, match="passphrase is not that of this backup"):
        opened(on_purpose)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"", "this file is empty"),
        (b"SQLite format 3\0" * 10, "no backup of PICCOLO"),
        (b"PICCOLO BACKUP x\n{}\n", "damaged at its beginning"),
        (b"PICCOLO BACKUP 2\n{}\n", r"newer PICCOLO \(format 2, this one knows 1\)"),
        (b"PICCOLO BACKUP 1" + b"0" * 20, "damaged at its beginning"),
        (b"PICCOLO BACKUP 1\n{}\n" + b"0" * archive.MAX_LINE + bytes(20), "damaged at its beginn"),
        (begun(b"[]"), "damaged at its beginning"),
        (begun(b"[" * 60_000), "damaged at its beginning"),
        (begun(b"{}"), "how its key is made"),
    ],
)
def test_what_is_no_backup_is_refused(file: bytes, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        opened(file)


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"n": 1 << 18},
            {"n": 1 << 16},
            {"n": 3},
            {"n": 0},
            {"n": True},
            {"r": 9},
            {"p": 5},
            {"p": -1},
        ),
        *({"salt": "00"}, {"salt": 5}, {"name": "argon2"}),
    ],
)
def test_a_file_cannot_ask_for_all_of_the_memory(change: dict[str, object]) -> None:
    head, rest = frames(LONG)
    about = json.loads(head.splitlines()[1])
    about["kdf"].update(change)
    with pytest.raises(InvalidSpec, match="how its key is made"):
        opened(begun(json.dumps(about).encode(), rest[0]) + b"".join(rest[1:]))


def test_the_usual_cost_is_one_that_is_taken() -> None:
    assert Cost().fits()


def test_a_file_that_cannot_be_read_is_unavailable() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(Unavailable, match="cannot read the backup: Input/output error"):
        unseal(Broken(LONG), PASSPHRASE)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(at=st.integers(0, len(LONG) - 1), bit=st.integers(0, 7), cut=st.booleans())
def test_no_change_goes_unnoticed(at: int, bit: int, cut: bool) -> None:
    spoilt = LONG[:at] if cut else LONG[:at] + bytes([LONG[at] ^ 1 << bit]) + LONG[at + 1 :]
    with pytest.raises(PiccoloError):
        opened(spoilt)


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(pieces=st.lists(st.binary(max_size=300), max_size=8), size=st.integers(1, 64))
def test_every_content_survives(
    pieces: list[bytes], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(archive, "FRAME", size)
        file = b"".join(seal(ABOUT, PASSPHRASE, pieces, TINY))
        assert opened(file)[1] == b"".join(pieces)
