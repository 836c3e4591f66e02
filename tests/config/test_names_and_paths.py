from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piccolo.config.names import check_name, made_valid, name_of_host
from piccolo.config.paths import check_path, check_socket_path, default_data_dir, local_path
from piccolo.core.errors import InvalidSpec


@pytest.mark.parametrize("name", ["a", "7", "edge-1", "a" * 63, "a--b"])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("", ""),
        ("-", ""),
        ("노드", ""),
        ("Edge_1", '"edge-1" would do'),
        ("a.b", '"a-b" would do'),
        ("-a-", '"a" would do'),
        ("a" * 64, f'"{"a" * 63}" would do'),
        ("a\n", '"a" would do'),
    ],
)
def test_what_is_no_name(name: str, better: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        check_name(name)
    assert str(caught.value).endswith(better or "first and last")


@given(st.text())
def test_made_valid_is_valid_or_nothing(text: str) -> None:
    name = made_valid(text)
    assert name == "" or check_name(name) == name
    assert made_valid(name) == name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("edge-1", "edge-1"),
        ("Edge_1.factory.example", "edge-1"),
        ("", ""),
        ("localhost", ""),
        ("localhost.localdomain", ""),
        ("노드", ""),
    ],
)
def test_name_of_host(host: str, name: str) -> None:
    assert name_of_host(host) == name


def test_default_data_dirs() -> None:
    home = {"HOME": "/home/u"}
    assert default_data_dir("agent", {}, root=True) == "/var/lib/piccolo"
    assert default_data_dir("master", home, root=True) == "/var/lib/piccolo/master"
    assert default_data_dir("agent", home, root=False) == "/home/u/.local/share/piccolo"
    xdg = home | {"XDG_DATA_HOME": "/data/"}
    assert default_data_dir("agent", xdg, root=False) == "/data/piccolo"
    relative = home | {"XDG_DATA_HOME": "data"}
    assert default_data_dir("agent", relative, root=False) == "/home/u/.local/share/piccolo"
    for nothing in ({}, {"HOME": ""}, {"HOME": "here"}):
        with pytest.raises(InvalidSpec, match="--data-dir"):
            default_data_dir("agent", nothing, root=False)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_path("/var//lib/./x/") == "/var/lib/x"
    assert check_path(Path("/x")) == "/x"
    assert check_path("//x") == "/x"
    assert check_path("/") == "/"
    for bad in ("", "x", "~/x", "./x", "/a\0b", 3, None, b"/x"):
        with pytest.raises(InvalidSpec, match="path"):
            check_path(bad)
    monkeypatch.chdir(tmp_path)
    assert local_path("x") == f"{tmp_path}/x"
    assert local_path(Path("../y")) == f"{tmp_path.parent}/y"
    for bad in ("", 3, "a\0b"):
        with pytest.raises(InvalidSpec, match="path"):
            local_path(bad)


def test_socket_paths() -> None:
    assert check_socket_path("/run/podman/podman.sock") == "/run/podman/podman.sock"
    assert check_socket_path("unix:///run/podman/podman.sock") == "/run/podman/podman.sock"
    # What is left when the URL went through pathlib, as on the command line.
    assert check_socket_path(str(Path("unix:///run/x.sock"))) == "/run/x.sock"
    assert check_socket_path("/" + "a" * 106) == "/" + "a" * 106
    for bad, reason in [
        ("tcp://10.0.0.1:8080", "does not lead to a socket on this machine"),
        ("unix://run/x", "not an absolute path"),
        ("/" + "a" * 107, "too long for a socket"),
        ("/" + "é" * 54, "too long for a socket"),
    ]:
        with pytest.raises(InvalidSpec, match=reason):
            check_socket_path(bad)
