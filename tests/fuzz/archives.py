"""The files of backups: what comes back from wherever they were kept."""

from __future__ import annotations

from hypothesis import strategies as st

from piccolo.core.errors import PiccoloError
from tests.fuzz.inputs import any_bytes, spoilt_bytes
from tests.fuzz.target import target
from tests.master.backups import backup, file_of, read_again

_BACKUP = backup()
_FILE = file_of(_BACKUP)
_HEAD = _FILE[: _FILE.index(b"\n", _FILE.index(b"\n") + 1) + 1]
_KDFS = [b'"n": 131072', b'"n": 3', b'"n": -1', b'"n": null', b'"n": 1e9', b'"r": 99999999999999']


@target(spoilt_bytes([_FILE]) | any_bytes, quick=60)
def backups(data: bytes) -> None:
    """A backup that is not as it was written is refused, whatever became of it."""
    try:
        found = read_again(data)
    except PiccoloError:
        assert data != _FILE
        raise
    assert data == _FILE
    assert found == _BACKUP


_heads = st.tuples(spoilt_bytes([_HEAD]), st.sampled_from(_KDFS), st.booleans())


@target(_heads, quick=60, found=[(_HEAD, _KDFS[0], True)])
def heads_of_backups(given: tuple[bytes, bytes, bool]) -> None:
    """The lines that anybody can write: they must not cost us more than a moment."""
    head, kdf, strange = given
    if strange:
        head = head.replace(b'"n": 2', kdf)
    data = head + _FILE[len(_HEAD) :]
    assert read_again(data) == _BACKUP or data != _FILE
