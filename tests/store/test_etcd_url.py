from __future__ import annotations

from pathlib import Path

import pytest

from piccolo.core.errors import InvalidSpec
from piccolo.store.etcd.url import Endpoint, EtcdUrl


def test_the_shortest() -> None:
    assert EtcdUrl.parse("etcd://10.0.0.1") == EtcdUrl((Endpoint("10.0.0.1", 2379),), "/piccolo/")


def test_everything() -> None:
    url = EtcdUrl.parse(
        "etcds://me:p%40ss@h1:1,[fd00::1]:2,h3/site/a/?ca=/etc/ca.crt&cert=c.crt&key=c.key"
    )
    assert url == EtcdUrl(
        endpoints=(Endpoint("h1", 1), Endpoint("fd00::1", 2), Endpoint("h3", 2379)),
        prefix="/site/a/",
        tls=True,
        user="me",
        password="p@ss",
        ca=Path("/etc/ca.crt"),
        cert=Path("c.crt"),
        key=Path("c.key"),
    )
    assert str(url) == "etcds://me@h1:1,[fd00::1]:2,h3:2379/site/a"
    assert "p@ss" not in repr(url)


@pytest.mark.parametrize("path", ["", "/", "/piccolo", "/piccolo/"])
def test_the_prefix_is_a_folder(path: str) -> None:
    assert EtcdUrl.parse(f"etcd://h{path}").prefix == "/piccolo/"


def test_a_password_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    url = EtcdUrl.parse(f"etcd://me@h?password_file={file}")
    with pytest.raises(InvalidSpec, match="cannot read etcd's password"):
        url.read_password()
    file.write_text("secret \n")
    assert url.read_password() == "secret "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with etcd://"),
        ("http://h", 'not with "http"'),
        ("etcd://", "is not HOST:PORT"),
        ("etcd://h1,,h2", "is not HOST:PORT"),
        ("etcd://h:0", "is not HOST:PORT"),
        ("etcd://h:99999", "is not HOST:PORT"),
        ("etcd://h:port", "is not HOST:PORT"),
        ("etcd://[fd00::1", "not the address"),
        ("etcd://h?ca=x", "begin the address of the store with etcds"),
        ("etcds://h?cert=x", 'both "cert" and "key"'),
        ("etcds://h?ca=", "needs one file name"),
        ("etcds://h?ca=a&ca=b", "needs one file name"),
        ("etcd://h?timeout=3", 'unknown option "timeout".* ca, cert, key, password_file'),
        ("etcd://me@h", "a user and a password"),
        ("etcd://:pw@h", "a user and a password"),
        ("etcd://me:pw@h?password_file=x", "not both"),
        ("etcd://me:p#w@h", "%23"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        EtcdUrl.parse(text)
