"""`piccolo validate` and `piccolo schema`, from outside; there is no master."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import warm
from tests.cli.scripted import piccolo

GOOD = """\
apiVersion: piccolo.io/v1
kind: Workload
metadata: {name: web}
spec: {image: nginx}
"""
BAD = GOOD.replace("image: nginx", "image: nginx, replicas: -1, prots: []")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path


def test_what_is_good(home: Path) -> None:
    done = piccolo("validate", "-f", "good.yaml", home=home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "✓ Workload web: ok\n", "")


def test_all_problems_and_exit_code_2(home: Path) -> None:
    done = piccolo("validate", "-f", ".", home=home)
    assert done.returncode == 2
    first, replicas, prots, second, twice = done.stdout.splitlines()
    assert first == "✗ Workload web: 2 problems"
    assert "bad.yaml:4:22: Workload web: spec.replicas: -1 is too small" in replicas
    assert 'unknown key "prots"; did you mean "ports"?' in prots
    assert second == "✗ Workload web: 1 problem"
    assert '"web" is defined already: bad.yaml:3:12' in twice
    assert done.stderr == ""


def test_json(home: Path) -> None:
    done = piccolo("validate", "-f", "bad.yaml", "-o", "json", home=home)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert found["objects"] == [
        {
            "source": "bad.yaml",
            "document": 1,
            "line": 2,
            "kind": "Workload",
            "name": "web",
            "ok": False,
        }
    ]
    assert [(p["source"], p["line"], p["column"]) for p in found["problems"]] == [
        ("bad.yaml", 4, 22),
        ("bad.yaml", 4, 36),
    ]
    good = json.loads(piccolo("validate", "-f", "good.yaml", "-o", "json", home=home).stdout)
    assert good["ok"] is True
    assert good["problems"] == good["notices"] == []


def test_names(home: Path) -> None:
    done = piccolo("validate", "-f", "good.yaml", "-o", "name", home=home)
    assert done.stdout == "workload/web\n"
    done = piccolo("validate", "-f", "bad.yaml", "-o", "name", home=home)
    assert done.returncode == 2
    assert "replicas" in done.stderr


def stdin(data: bytes) -> subprocess.CompletedProcess[str]:
    return warm.run("validate", "-f", "-", env=os.environ, stdin=data)


def test_standard_input() -> None:
    done = stdin(GOOD.encode())
    assert (done.returncode, done.stdout) == (0, "✓ Workload web: ok\n")
    done = stdin(b"x" * 2_000_000)
    assert done.returncode == 2
    assert "standard input: more than the 1 MiB allowed" in done.stdout
    done = stdin(b"")
    assert done.returncode == 2
    assert "there is no document at all" in done.stdout


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["-f", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (["-f", "empty"], "no files *.yaml, *.yml, *.json are in this directory"),
        ([], "-f"),
    ],
)
def test_what_cannot_be_read(home: Path, args: list[str], reason: str) -> None:
    (home / "empty").mkdir()
    done = piccolo("validate", *args, home=home)
    assert done.returncode == 2
    assert reason in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_document_holds_cannot_drive_the_terminal(home: Path) -> None:
    (home / "evil.yaml").write_text('kind: "\\e[2J"\nmetadata: {name: "\\e]0;x"}\n"\\e": 1\n')
    done = piccolo("validate", "-f", "evil.yaml", home=home)
    assert done.returncode == 2
    assert "\x1b" not in done.stdout


def test_schemas(home: Path) -> None:
    one = json.loads(piccolo("schema", "workload", home=home).stdout)
    assert one["title"] == "Workload"
    assert one["properties"]["kind"]["description"]
    every = json.loads(piccolo("schema", home=home).stdout)
    assert "Deployment" in every["properties"]["kind"]["enum"]
    done = piccolo("schema", "pdo", home=home)
    assert done.returncode == 3
    assert 'there is no kind "pdo"; did you mean "Pod"?' in done.stderr


def test_other_verbs_do_not_pay_for_it() -> None:
    program = (
        "import sys, piccolo.cli.main\n"
        "print([m for m in sys.modules if m.startswith(('piccolo.config', 'pydantic', 'yaml'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
