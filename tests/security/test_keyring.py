"""The file of the store's keys: who may read it, what is in it, and that slips are noticed."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.security.keyring import KeyRing

SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER = base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()


def file_of(directory: Path) -> Path:
    return directory / "pki" / "store.key"


def ring_of(directory: Path, keys: int = 1) -> KeyRing:
    ring = KeyRing.load(directory, {})
    for _ in range(keys):
        ring.renew()
    return ring


def test_reading_makes_no_key(tmp_path: Path) -> None:
    assert KeyRing.load(tmp_path, {}).ids == ()
    assert not file_of(tmp_path).exists()


def test_keys_are_private_and_there_again_after_a_restart(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        ring = ring_of(tmp_path, 2)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(file_of(tmp_path).parent.stat().st_mode) == 0o700
    again = KeyRing.load(tmp_path, {})
    assert again.ids == ring.ids
    assert len(set(ring.ids)) == 2
    for id in ring.ids:
        assert again.open(id, b"here", ring.seal(id, b"here", b"value")) == b"value"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    ring_of(tmp_path)
    file_of(tmp_path).chmod(mode)
    with pytest.raises(InvalidSpec, match=r"store\.key.*chmod go="):
        KeyRing.load(tmp_path, {})


def test_a_directory_that_others_can_look_into_is_refused(tmp_path: Path) -> None:
    ring_of(tmp_path)
    file_of(tmp_path).parent.chmod(0o755)
    with pytest.raises(InvalidSpec, match=r"pki.*chmod go="):
        KeyRing.load(tmp_path, {})


def test_what_is_sealed_opens_with_its_key_in_its_context_only(tmp_path: Path) -> None:
    ring = ring_of(tmp_path, 2)
    new, old = ring.ids
    sealed = ring.seal(new, b"node/a", b"value")
    assert b"value" not in sealed
    assert ring.open(new, b"node/a", sealed) == b"value"
    assert ring.open(new, b"node/b", sealed) is None
    assert ring.open(old, b"node/a", sealed) is None
    assert ring.open(b"nobody's", b"node/a", sealed) is None
    assert all(ring.open(new, b"node/a", sealed[:n]) is None for n in range(len(sealed)))
    assert ring.open(new, b"node/a", sealed + b"\0") is None
    assert ring.open(new, b"", ring.seal(new, b"", b"")) == b""


def test_the_newest_key_is_the_first_and_the_others_can_be_forgotten(tmp_path: Path) -> None:
    ring = ring_of(tmp_path, 3)
    [_, line, *_] = [r for r in file_of(tmp_path).read_text().splitlines() if r[0] != "#"]
    assert line.split()[0] == ring.ids[1].hex()
    assert ring.forget()
    assert KeyRing.load(tmp_path, {}).ids == ring.ids
    assert len(ring.ids) == 1
    assert line.split()[1] not in file_of(tmp_path).read_text()


def test_a_key_is_on_the_disk_before_it_seals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = ring_of(tmp_path)
    before, text = ring.ids, file_of(tmp_path).read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for change in (ring.renew, ring.forget):
        with pytest.raises(Unavailable, match="No space left"):
            change()
        assert ring.ids == before
        assert file_of(tmp_path).read_text() == text


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(line.split()[1][3], "A" if line.split()[1][3] != "A" else "B", 1),
        lambda line: line[:30],
        lambda line: line[1:],
        lambda line: line + " more",
        lambda line: "nonsense",
        lambda line: f"0000000000000000 {line.split()[1]}",
        lambda line: "ab" + line,
        lambda line: base64.b64encode(b"too short").decode(),
    ],
)
def test_a_slip_is_noticed_and_not_shown(tmp_path: Path, change: object) -> None:
    ring_of(tmp_path)
    lines = file_of(tmp_path).read_text().splitlines()
    good = lines[-1]
    assert callable(change)
    lines[-1] = change(good)
    file_of(tmp_path).write_text("\n".join(lines))
    with pytest.raises(InvalidSpec, match=rf"store\.key, line {len(lines)}: .*backup") as caught:
        KeyRing.load(tmp_path, {})
    assert good.split()[1][:12] not in str(caught.value)
    assert lines[-1].split()[-1][:12] not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_an_empty_file_is_no_reason_to_make_a_key(tmp_path: Path, text: str) -> None:
    ring_of(tmp_path)
    file_of(tmp_path).write_text(text)
    with pytest.raises(InvalidSpec, match="no store key in it"):
        KeyRing.load(tmp_path, {})


def test_a_person_may_write_the_file(tmp_path: Path) -> None:
    ring_of(tmp_path)
    file_of(tmp_path).write_text(f"# mine\r\n\r\n  {SECRET}  \r\n")
    assert len(KeyRing.load(tmp_path, {}).ids) == 1


def test_a_credential_of_systemd_wins_and_is_never_written(tmp_path: Path) -> None:
    ring_of(tmp_path)
    text = file_of(tmp_path).read_text()
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert KeyRing.load(tmp_path, environ).ids == KeyRing.load(tmp_path, {}).ids  # not given
    credential = credentials / "piccolo-store-key"
    credential.write_text(f"{SECRET}\n{OTHER}\n")
    credential.chmod(0o440)  # as systemd has it, with an access control list
    ring = KeyRing.load(tmp_path, environ)
    assert len(ring.ids) == 2
    assert ring.ids[0] not in KeyRing.load(tmp_path, {}).ids
    with pytest.raises(InvalidSpec, match="systemd credential piccolo-store-key is not the master"):
        ring.renew()
    assert not ring.forget()
    assert len(ring.ids) == 2
    assert file_of(tmp_path).read_text() == text
    credential.chmod(0o600)
    credential.write_text("junk")
    with pytest.raises(InvalidSpec, match="credential piccolo-store-key, line 1"):
        KeyRing.load(tmp_path, environ)


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    ring = ring_of(tmp_path)
    secret = file_of(tmp_path).read_text().split()[-1]
    assert secret not in repr(ring._keys)
    assert repr(base64.b64decode(secret)) not in repr(ring._keys)
