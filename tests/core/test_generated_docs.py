"""The generated sections of the documents: complete, and what the code says now."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from piccolo.core.model import NodeState
from piccolo.core.nodes.liveness import PROFILES, LinkProfile
from piccolo.core.nodes.states import TRANSITIONS, Fault, Trigger
from piccolo.core.planning.rollup import State
from tools import workload_docs
from tools.docs import DOCS, FAULTS, FIGURES, SECTIONS, STATES, TRIGGERS, Wrong, main, render


def marked(name: str, body: str = "old\n") -> str:
    return f"# Title\n\n<!-- generated: {name} -->\n{body}<!-- end -->\n\nafter\n"


def test_the_documents_are_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_every_section_stands_in_a_document() -> None:
    text = "".join(path.read_text() for path in DOCS.rglob("*.md"))
    assert not [name for name in SECTIONS if f"<!-- generated: {name} -->" not in text]


def test_everything_is_explained() -> None:
    assert set(STATES) == set(NodeState)
    assert set(TRIGGERS) == set(Trigger)
    assert set(FAULTS) == set(Fault)
    assert set(workload_docs.STATES) == set(State)
    assert set(FIGURES) == {f.name for f in fields(LinkProfile)} - {"name"}


def test_the_sections_hold_what_they_are_about() -> None:
    sections = {name: section() for name, section in SECTIONS.items()}
    assert sections["node-states-diagram"].startswith("```mermaid\nstateDiagram-v2\n")
    assert sections["node-transitions"].count("\n") == len(TRANSITIONS) + 1
    for fault in Fault:
        assert f"| `{fault}` |" in sections["node-faults"]
    for state in NodeState:
        assert f"| **{state}** |" in sections["node-states"]
    wired = PROFILES["wired"]
    assert f"| `silent_after` | {wired.silent_after:g} s |" in sections["link-profiles"]
    for text in sections.values():
        cells = {line.count("|") for line in text.splitlines() if line.startswith("|")}
        assert len(cells) <= 1, "a cell with a | in it breaks its table"


def test_what_stands_between_the_marks_is_replaced_and_nothing_else() -> None:
    text = marked("node-states") + marked("node-faults", "")
    new = render(text)
    assert new.startswith("# Title\n\n<!-- generated: node-states -->\n| State |")
    assert new.count("\n<!-- end -->\n\nafter\n") == 2
    assert "\nold\n" not in new
    assert render(new) == new
    assert render("no marks\n") == "no marks\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (marked("nonsense"), 'there is no section "nonsense"; there are node-states-diagram'),
        ("<!-- generated: node-states -->\nend of file\n", "has no <!-- end -->"),
        ("<!-- generated: node-states -->\n" + marked("node-faults"), "has no <!-- end -->"),
    ],
)
def test_wrong_marks_are_told(text: str, said: str) -> None:
    with pytest.raises(Wrong, match=said):
        render(text)


def test_check_tells_what_is_stale_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    page = folder / "page.md"
    page.write_text(marked("node-states"))
    assert main(["--check"], folder) == 1
    assert "docs/page.md is not what the code says: run python -m tools.docs" in (
        capsys.readouterr().err
    )
    assert page.read_text() == marked("node-states")
    assert main([], folder) == 0
    assert page.read_text() == render(marked("node-states"))
    assert main(["--check"], folder) == 0


def test_a_wrong_mark_fails_and_names_the_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "page.md").write_text(marked("nonsense"))
    assert main([], folder) == 1
    assert 'docs/page.md: there is no section "nonsense"' in capsys.readouterr().err
