"""What `piccolo secret set` is given: the command line, files, the standard input."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from piccolo.cli import client
from piccolo.cli.security import secret
from piccolo.cli.security.secret import read_values
from piccolo.core.errors import InvalidSpec
from piccolo.rpc import wire


@pytest.fixture(autouse=True)
def standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"# for the gate\nuser=ada\r\n\n  \npassword=a=b c \nraw=\xff\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))


def test_values_come_from_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "key=1.pem"
    file.write_bytes(b"\x00binary\n")
    found = read_values(["pin=12=34", "empty=", "-"], [f"tls.key={file}"])
    assert found == {
        "pin": b"12=34",
        "empty": b"",
        "user": b"ada",
        "password": b"a=b c ",
        "raw": b"\xff",
        "tls.key": b"\x00binary\n",
    }


def test_the_standard_input_may_be_one_value() -> None:
    found = read_values([], ["all=-"])
    assert found["all"].startswith(b"# for the gate\n")


@pytest.mark.parametrize(
    ("values", "files", "message"),
    [
        (["s3cr3t"], [], "value 1 is not of the form"),
        (["a=1", "=s3cr3t"], [], "value 2 is not of the form"),
        (["a=1", "a=s3cr3t"], [], "twice"),
        (["-", "-"], [], "once only"),
        (["-"], ["a=-"], "once only"),
        ([], ["/s3cr3t"], "--from-file 1 is not of the form"),
        ([], ["a=/nowhere/at/all"], "cannot read /nowhere/at/all: No such file"),
        ([], ["a=/dev/zero"], "has more than 1048576 bytes"),
    ],
)
def test_mistakes_are_named_and_values_are_not(
    values: list[str], files: list[str], message: str
) -> None:
    with pytest.raises(InvalidSpec, match=message) as caught:
        read_values(values, files)
    assert "s3cr3t" not in str(caught.value)


def test_a_bad_line_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.BytesIO(b"a=1\ns3cr3t\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=text))
    with pytest.raises(InvalidSpec, match="line 2 of the standard input") as caught:
        read_values(["-"], [])
    assert "s3cr3t" not in str(caught.value)


def test_who_uses_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    foo = wire.Secret(name="foo", keys=["bar"])

    def answer(reply: object) -> None:
        monkeypatch.setattr(client, "call", lambda *_, **__: reply)

    answer(wire.PutSecretResponse(secret=foo, used_by=["dash", "web"]))
    secret.set_secret("foo", ["bar=1"], None, replace=True)
    assert capsys.readouterr().out == (
        "secret foo: bar; the containers of dash, web are made anew with it\n"
    )
    answer(wire.PutSecretResponse(secret=foo))
    secret.set_secret("foo", ["bar=1"], None)
    assert capsys.readouterr().out == "secret foo: bar\n"
    for used_by, them in ((["dash", "web"], "them"), (["web"], "it")):
        answer(wire.DeleteSecretResponse(secret=foo, used_by=used_by))
        secret.delete_secret("foo")
        out, err = capsys.readouterr()
        assert out == "secret foo deleted\n"
        assert err == (
            f"note: still named by {', '.join(used_by)}:"
            f" what runs of {them} runs on, but cannot be made anew\n"
        )
    answer(wire.DeleteSecretResponse(secret=foo))
    secret.delete_secret("foo")
    assert capsys.readouterr().err == ""


def test_the_master_takes_less_than_is_read() -> None:
    from piccolo.master.security.secrets import MAX_BYTES

    assert secret.MAX_INPUT > MAX_BYTES
