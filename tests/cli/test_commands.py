"""The installed program from outside: help, wrong usage, exit codes, where the master is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from piccolo import __version__
from piccolo.cli.verbs import HINTS
from tests.cli import warm
from tests.cli.scripted import Cluster, saved

pytestmark = pytest.mark.slow  # each test starts the program, some several times

CLIENT_COMMANDS = [
    *("get nodes", "get node", "get containers", "get events", "get topology", "get certificates"),
    *("describe node", "top nodes", "top containers", "status", "health", "approve"),
    *("label node", "remove node", "doctor", "token create", "token list", "token revoke"),
    *("apply", "diff", "delete", "delete workload", "restart workload", "rollback workload"),
    *("history workload", "get workloads", "get workload", "describe workload"),
    *("context create", "context renew", "context revoke", "ca show", "ca rotate", "ca retire"),
]


def piccolo(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PICCOLO_")}
    return warm.run(*args, env=env | environ)


def test_help_names_every_verb() -> None:
    result = piccolo("--help")
    assert result.returncode == 0
    for verb in (
        "master",
        "agent",
        "get",
        "describe",
        "top",
        "status",
        "label",
        "approve",
        "token",
        "context",
        "ca",
        "doctor",
        "apply",
        "diff",
        "delete",
        "restart",
        "rollback",
        "history",
    ):
        assert f"\n  {verb} " in result.stdout


def test_version() -> None:
    result = piccolo("version", "-o", "json")
    assert json.loads(result.stdout)["version"] == __version__
    by_option = piccolo("--version")
    assert by_option.returncode == 0
    assert by_option.stdout == piccolo("version").stdout


@pytest.mark.parametrize("args", [["nonsense"], ["get", "nodez"], ["get", "nodes", "-o", "xml"]])
def test_wrong_usage_exits_with_2(args: list[str]) -> None:
    result = piccolo(*args)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.fixture
def context(tmp_path: Path) -> str:
    """Of a cluster whose master is away."""
    return str(saved(tmp_path / "context.yaml", Cluster().context("127.0.0.3:1")))


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("logs", "podman logs"),
        ("exec", "podman exec"),
        ("delete Node", "piccolo remove node"),
        ("Rollout", "piccolo rollback workload"),
        ("config use-context", "piccolo context use"),
        ("get Secrets", "piccolo secret list"),
        ("secret get", "values are never shown again"),
    ],
)
def test_words_of_other_tools_get_a_hint(word: str, hint: str) -> None:
    result = piccolo(*word.split(), "x")
    assert result.returncode == 2
    assert hint in result.stderr


@pytest.mark.parametrize("verb", ["delete", "restart", "rollback", "history", "describe"])
def test_a_kind_that_there_is_not_is_answered_with_those_that_there_are(verb: str) -> None:
    result = piccolo(verb, "gadget", "x")
    assert result.returncode == 2
    assert f"piccolo {verb} knows: " in result.stderr
    assert "workload" in result.stderr


@pytest.mark.parametrize(
    ("args", "right"),
    [
        ("restart web", "piccolo restart workload web"),
        ("delete workload/web db", "piccolo delete workload web db"),
        ("describe web", "piccolo describe workload web"),
        ("rollback web --to 2", "piccolo rollback workload web --to 2"),
        ("get workloads web", "piccolo get workload web"),
        ("get nodes n1", "piccolo get node n1"),
        ("apply web.yaml", "piccolo apply -f web.yaml"),
        ("diff -f a b c d e f", "piccolo diff -f a -f b -f c -f d -f e …"),
    ],
)
def test_a_word_that_is_missing(args: str, right: str) -> None:
    result = piccolo(*args.split())
    assert result.returncode == 2
    assert f"Did you mean: {right}?" in result.stderr


def test_the_example_of_a_selector_has_fields_of_what_is_listed() -> None:
    shown = {
        "nodes": "zone=front,.arch!=arm64,.status=Ready",
        "workloads": "tier=front,.state!=Running",
        "containers": ".state=running,.node=n1",
    }
    for kind, example in shown.items():
        assert example in piccolo("get", kind, "--help").stdout


@pytest.mark.parametrize(
    ("args", "right"),
    [
        (["--context", "wall", "get", "nodes"], "piccolo get nodes --context"),
        (["--master", "h", "get", "nodes", "-w"], "piccolo get nodes -w --master"),
        (["get", "-o", "json", "nodes"], "piccolo get nodes -o"),
        (["--context", "wall"], "piccolo VERB --context"),
    ],
)
def test_options_that_stand_too_early_are_told_where_to_go(args: list[str], right: str) -> None:
    result = piccolo(*args)
    assert result.returncode == 2
    assert f"goes behind the verb: {right} …" in result.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_no_time_to_answer(context: str, seconds: str) -> None:
    result = piccolo("get", "nodes", "--context", context, "--timeout", seconds)
    assert result.returncode == 2
    assert f"--timeout: {seconds} is not possible" in result.stderr


def test_nodes_can_be_removed_in_the_plural_too(context: str) -> None:
    result = piccolo("remove", "nodes", "n1", "--context", context)
    assert result.returncode == 4
    assert "127.0.0.3:1" in result.stderr


def test_every_verb_that_is_hinted_at_exists() -> None:
    verbs = piccolo("--help").stdout
    for word, hint in HINTS.items():
        *group, last = word.split()
        there = piccolo(*group, "--help").stdout if group else verbs
        assert f"\n  {last} " not in there, f"{word} is a verb: no need to hint"
        for verb in re.findall(r"piccolo ([a-z]+)", hint):
            assert f"\n  {verb} " in verbs


def test_every_verb_for_clients_takes_a_context() -> None:
    verbs = piccolo("--help").stdout
    for verb, *_ in (command.split() for command in CLIENT_COMMANDS):
        assert verb in verbs
    for command in CLIENT_COMMANDS:
        help_text = piccolo(*command.split(), "--help").stdout
        assert "--context" in help_text, command
        assert "--master" in help_text, command


def test_an_unreachable_master_exits_with_4_and_names_every_address(context: str) -> None:
    args = ["--master", "127.0.0.1:1", "--master", "127.0.0.2:1", "--context", context]
    result = piccolo("get", "nodes", *args)
    assert result.returncode == 4
    assert "127.0.0.1:1" in result.stderr
    assert "127.0.0.2:1" in result.stderr
    assert "127.0.0.3:1" not in result.stderr
    assert "connection refused" in result.stderr


def test_an_address_that_is_none_exits_with_2(context: str) -> None:
    result = piccolo("get", "nodes", "--master", "not an address", "--context", context)
    assert result.returncode == 2
    assert "--master: " in result.stderr
    assert "not an address" in result.stderr


def test_the_master_is_found_by_context_and_by_environment(context: str) -> None:
    by_file = piccolo("get", "nodes", PICCOLO_CONTEXT=context)
    assert "127.0.0.3:1" in by_file.stderr
    by_environment = piccolo(
        "get", "nodes", PICCOLO_CONTEXT=context, PICCOLO_MASTER="127.0.0.4:1,127.0.0.5:1"
    )
    assert "127.0.0.3:1" not in by_environment.stderr
    assert "127.0.0.4:1" in by_environment.stderr
    assert "127.0.0.5:1" in by_environment.stderr


@pytest.mark.parametrize("content", ["masters: 5", "[", "masters: [10.0.0.1]", "{}", "\x00"])
def test_a_broken_context_file_is_named(tmp_path: Path, content: str) -> None:
    context = tmp_path / "context.yaml"
    context.write_text(content)
    context.chmod(0o600)
    result = piccolo("get", "nodes", PICCOLO_CONTEXT=str(context))
    assert result.returncode == 2
    assert str(context) in result.stderr
    assert "Traceback" not in result.stderr


def test_starting_stays_fast(context: str) -> None:
    """What costs time is not imported before it is needed."""
    code = (
        "import sys, piccolo.cli.main, piccolo.cli.show.kinds, piccolo.cli.workloads.changing\n"
        "from piccolo.cli import client, lookup\n"
        "from piccolo.cli.workloads import apply\n"
        f"apply.read_sources([{context!r}])\n"
        f"client.tls_of(lookup.find({context!r}))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "grpclib" in loaded
    assert not loaded & {"pydantic", "cryptography", "yaml", "uvloop", "rich"}
