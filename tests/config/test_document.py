from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from piccolo.config import document
from piccolo.config.document import (
    MAX_ALIAS_EXPANSION,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_EVENTS,
    Document,
    load_documents,
)
from piccolo.core.errors import InvalidSpec

LOADERS = [
    pytest.param(yaml.SafeLoader, id="python"),
    pytest.param(
        getattr(yaml, "CSafeLoader", None),
        id="libyaml",
        marks=pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML without libyaml"),
    ),
]


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """Both parsers that an installation may have."""
    monkeypatch.setattr(document, "_LOADER", request.param)
    chosen: type = request.param
    return chosen


def value_of(text: str) -> Any:
    [only] = load_documents(text, "f.yaml")
    return only.value


def attempt(text: str) -> tuple[list[Document], str | None]:
    try:
        return load_documents(text, "f.yaml"), None
    except InvalidSpec as error:
        return [], str(error)


def refusal(text: str) -> str:
    with pytest.raises(InvalidSpec) as caught:
        load_documents(text, "f.yaml")
    message = str(caught.value)
    assert message.startswith("f.yaml:")
    assert "\n" not in message
    return message


# ---- values ----


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.5e-07", 1.5e-7),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        # YAML 1.1 would turn all of these into something else.
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("190:20:30", "190:20:30"),
        ("0644", "0644"),
        ("1_000", "1_000"),
        ("2025-09-04", "2025-09-04"),
        ("=", "="),
        ("10.0.0.1", "10.0.0.1"),
        ("1.5s", "1.5s"),
        ("00:1b:44:11:3a:b7", "00:1b:44:11:3a:b7"),
        ('"5"', "5"),
        ("'true'", "true"),
        ('""', ""),
        ("|\n  5\n", "5\n"),
        ("한국어", "한국어"),
        ("😀", "😀"),
    ],
)
def test_what_a_value_means(written: str, meant: object) -> None:
    found = value_of(f"a: {written}\n")["a"]
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.usefixtures("loader")
def test_not_a_number() -> None:
    assert math.isnan(value_of("a: .nan")["a"])


@pytest.mark.usefixtures("loader")
def test_keys_are_text_as_it_is_written() -> None:
    assert value_of("1: a\ntrue: b\nno: c\n0x1: d\n~: e\n") == {
        "1": "a",
        "true": "b",
        "no": "c",
        "0x1": "d",
        "~": "e",
    }


@pytest.mark.usefixtures("loader")
def test_lists_and_mappings_in_each_other() -> None:
    text = "a:\n- b: [1, {c: 2}]\n- []\nd: {}\n"
    assert value_of(text) == {"a": [{"b": [1, {"c": 2}]}, []], "d": {}}


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("text", ["", "\n", "   \n", "# nothing\n", "\ufeff", "\ufeff# x\n"])
def test_nothing_but_blanks_and_comments(text: str) -> None:
    assert load_documents(text, "f.yaml") == []


@pytest.mark.usefixtures("loader")
def test_many_documents() -> None:
    found = load_documents("a: 1\n---\n\n- b\n---\n---\nc\n", "f.yaml")
    assert [d.value for d in found] == [{"a": 1}, ["b"], None, "c"]
    assert [d.place() for d in found] == [
        "f.yaml:1:1",
        "f.yaml:4:1",
        found[2].place(),
        "f.yaml:7:1",
    ]
    assert found[1].place((0,)) == "f.yaml:4:3"


@pytest.mark.usefixtures("loader")
def test_byte_order_mark_and_carriage_returns() -> None:
    [found] = load_documents("\ufeffa: 1\r\nb: 2\r\n", "f.yaml")
    assert found.value == {"a": 1, "b": 2}
    assert found.position(("a",)) == (1, 1)
    assert found.position(("b",)) == (2, 1)


@pytest.mark.usefixtures("loader")
def test_a_yaml_directive_and_an_end_mark() -> None:
    assert value_of("%YAML 1.1\n---\na: yes\n...\n") == {"a": "yes"}


# ---- positions ----


@pytest.mark.usefixtures("loader")
def test_positions_are_of_keys_and_items() -> None:
    text = "cluster:\n  name: x\nnodes:\n  - name: a\n    ip: 10.0.0.1\n  - {name: b, ip: c}\n"
    [found] = load_documents(text, "node.yaml")
    assert found.positions == {
        (): (1, 1),
        ("cluster",): (1, 1),
        ("cluster", "name"): (2, 3),
        ("nodes",): (3, 1),
        ("nodes", 0): (4, 5),
        ("nodes", 0, "name"): (4, 5),
        ("nodes", 0, "ip"): (5, 5),
        ("nodes", 1): (6, 5),
        ("nodes", 1, "name"): (6, 6),
        ("nodes", 1, "ip"): (6, 15),
    }
    assert found.place(("nodes", 1, "ip")) == "node.yaml:6:15"
    assert found.place(("nodes", 1, "role")) == "node.yaml:6:5"
    assert found.place(("nothing", "there")) == "node.yaml:1:1"


def test_columns_count_characters_not_bytes() -> None:
    [found] = load_documents("{한국: 1, b: 2}", "f.yaml")
    assert found.position(("b",)) == (1, 9)


def test_an_empty_document_has_a_place() -> None:
    assert Document("x.yaml").place(("a",)) == "x.yaml:1:1"


# ---- refusals ----


@pytest.mark.usefixtures("loader")
def test_a_key_twice_names_both_lines() -> None:
    message = refusal("nodes:\n  - name: a\n    role: sub\n    name: b\n")
    assert message == 'f.yaml:4:5: "name" is given twice: first on line 2, column 5'


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("text", ['a: 1\n"a": 2\n', "1: x\n'1': y\n", "{a: 1, a: 2}"])
def test_a_key_twice_in_different_dress(text: str) -> None:
    assert "given twice" in refusal(text)


@pytest.mark.usefixtures("loader")
def test_the_same_key_in_different_mappings_is_no_duplicate() -> None:
    assert value_of("a: {x: 1}\nb: {x: 2}\n") == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a:\n\tb: 1\n", "f.yaml:2:"),
        ("\ta: 1\n", "f.yaml:1:"),
        ("a: 1\n\tb: 2\n", "f.yaml:2:"),
        ("a:\n  b: 1\n  \tc: 2\n", "f.yaml:3:"),
    ],
)
def test_a_tab_for_indentation(text: str, place: str) -> None:
    message = refusal(text)
    assert message.startswith(place)
    assert "a tab is used for indentation: YAML takes spaces only" in message


@pytest.mark.usefixtures("loader")
def test_tabs_within_text_are_text() -> None:
    assert value_of('a: "x\ty"\nb: |\n  x\ty\n') == {"a": "x\ty", "b": "x\ty\n"}


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("a: b: c\n", "f.yaml:1:5:", "does not belong here"),
        ("a: 'x\nb: 1\n", "f.yaml:3:1:", "a quote is not closed: it opens on line 1"),
        ("a: 1\n b: 2\n", "f.yaml:2:3:", "does not belong here"),
        ("a: @x\n", "f.yaml:1:4:", "put the text in quotes"),
        ("a: 1\nb\n", "f.yaml:3:1:", 'a ":" is missing after a key'),
        ("- a\nb: 1\n", "f.yaml:2:1:", ""),
        ("a: [1, 2\n", "f.yaml:2:1:", ""),
        ("a: !!python/object:os.system x\n", "f.yaml:1:4:", "tags such as"),
        ("a: !!binary aGk=\n", "f.yaml:1:4:", "tags such as"),
        ("a: !secret x\n", "f.yaml:1:4:", "tags such as"),
        ("a: !!set {x}\n", "f.yaml:1:4:", "tags such as"),
        ("a: &b {c: 1}\nd:\n  <<: *b\n", "f.yaml:3:3:", "merge keys"),
        ("? [a, b]\n: c\n", "f.yaml:1:3:", "cannot be a key"),
        ("{{ template }}: 1\n", "f.yaml:1:1:", "cannot be a key"),
        ("? \n: x\n", "f.yaml:1:2:", "a key is missing"),
        (": x\n", "f.yaml:1:1:", ""),
        ("a: *b\n", "f.yaml:1:4:", '"*b" refers to nothing'),
        ("a: &a [*a]\n", "f.yaml:1:8:", '"*a" refers to nothing'),
        ("a: &a {b: *a}\n", "f.yaml:1:11:", '"*a" refers to nothing'),
        ("a: &k x\n*k : 1\n", "f.yaml:2:1:", "cannot be a key"),
        ("a: x\n---\nb: *a\n", "f.yaml:3:4:", "refers to nothing"),
        ("%TAG !e! tag:example.com,2000:\n---\na: 1\n", "f.yaml:1:1:", "directives"),
        ("a: 1\n...\n%FOO bar\n---\nb: 1\n", "f.yaml:3:1:", "directives"),
        ("a: 1\nb: \0\n", "f.yaml:2:4:", r'"\x00" is not allowed in YAML'),
        ("a: \x1b[31m\n", "f.yaml:1:4:", r'"\x1b" is not allowed in YAML'),
        ("a: \ud800\n", "f.yaml:1:4:", r'"\ud800" is not allowed in YAML'),
        ('a: "x\\0y"\n', "f.yaml:1:4:", "a character that no text may hold"),
        ('a: "\\ud800"\n', "f.yaml:1:", ""),
        ('a: "\\UFFFFFFFF"\n', "f.yaml:", ""),
        (f"a: {'9' * 5000}\n", "f.yaml:1:4:", "too long for a number"),
        (f"%YAML {'9' * 5000}.1\n---\na: 1\n", "f.yaml:", ""),
    ],
)
def test_refused_with_place_and_reason(text: str, place: str, reason: str) -> None:
    message = refusal(text)
    if reason:
        assert reason in message
    if yaml.CSafeLoader is document._LOADER or reason:
        assert message.startswith(place)
    assert all(c.isprintable() for c in message)


@pytest.mark.usefixtures("loader")
def test_alias_before_its_limit() -> None:
    text = "base: &b {x: [1, 2]}\nnodes:\n  - *b\n  - *b\n"
    [found] = load_documents(text, "f.yaml")
    assert found.value == {"base": {"x": [1, 2]}, "nodes": [{"x": [1, 2]}, {"x": [1, 2]}]}
    assert found.place(("nodes", 1, "x", 0)) == "f.yaml:4:5"


@pytest.mark.usefixtures("loader")
def test_an_anchor_may_be_set_anew() -> None:
    assert value_of("[&a 1, *a, &a 2, *a]") == [1, 1, 2, 2]


@pytest.mark.usefixtures("loader")
def test_keys_and_lists_may_be_anchored() -> None:
    assert value_of("&k key: &v [x]\na: *k\nb: *v\n") == {"key": ["x"], "a": "key", "b": ["x"]}


@pytest.mark.usefixtures("loader")
def test_billion_laughs() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "repeat too much" in refusal("\n".join(lines))


@pytest.mark.usefixtures("loader")
def test_one_long_text_many_times() -> None:
    half = "x" * (MAX_ALIAS_EXPANSION // 2 - 10)
    assert len(value_of(f"[&a {half}, *a, *a]")) == 3
    assert "repeat too much" in refusal(f"[&a {half}, *a, *a, *a]")


@pytest.mark.usefixtures("loader")
def test_keys_count_too() -> None:
    half = f"- &a\n  ? {'x' * (MAX_ALIAS_EXPANSION // 2 - 10)}\n  : y\n"
    assert len(value_of(half + "- *a\n" * 2)) == 3
    assert "repeat too much" in refusal(half + "- *a\n" * 3)


@pytest.mark.usefixtures("loader")
def test_expansion_is_limited_over_all_documents() -> None:
    one = f"--- [&a {'x' * (MAX_ALIAS_EXPANSION // 2 - 10)}, *a]\n"
    assert len(load_documents(one * 2, "f.yaml")) == 2
    assert "repeat too much" in refusal(one * 3)


@pytest.mark.usefixtures("loader")
def test_depth() -> None:
    def nested(levels: int) -> str:
        return "[" * levels + "]" * levels

    value_of(nested(MAX_DEPTH))
    assert "nested deeper than" in refusal(nested(MAX_DEPTH + 1))
    assert "nested deeper than" in refusal("[" * 500_000)
    assert "nested deeper than" in refusal("- " * 500_000)
    assert "nested deeper than" in refusal("{a: " * 250_000)


@pytest.mark.usefixtures("loader")
def test_depth_cannot_be_reached_by_aliases() -> None:
    half = MAX_DEPTH // 2
    ring = "[" * half + "]" * half
    assert value_of(f"[&a {ring}, {'[' * (half - 1)}*a{']' * (half - 1)}]")
    assert "by an alias" in refusal(f"[&a {ring}, {'[' * half}*a{']' * half}]")
    chained = [f"- &a0 {ring}"]
    chained += [f"- &a{i} {'[' * 10}*a{i - 1}{']' * 10}" for i in range(1, 10)]
    assert "by an alias" in refusal("\n".join(chained))


def test_size_counts_bytes() -> None:
    assert load_documents("#" * MAX_BYTES, "f.yaml") == []
    assert "more than the 1 MiB allowed" in refusal("#" * (MAX_BYTES + 1))
    assert "more than the 1 MiB allowed" in refusal("#" + "é" * (MAX_BYTES // 2))


def test_number_of_values() -> None:
    assert f"more than {MAX_EVENTS} keys and values" in refusal("- a\n" * (MAX_EVENTS + 1))
    assert f"more than {MAX_EVENTS} keys and values" in refusal("---\n" * MAX_EVENTS)


NASTY = {
    "list": "- a\n" * 262_144,
    "flow list": "[" + "a," * 524_000 + "]",
    "deep flow": "[" * 1_048_576,
    "deep block": "- " * 524_288,
    "deep mapping": "{a: " * 262_144,
    "indentation": "".join(f"{' ' * i}a:\n" for i in range(1440)),
    "explicit keys": "? " * 524_288,
    "documents": "---\n" * 262_144,
    "open quote": '"' + "a" * 1_000_000,
    "anchors": "- &a\n" * 200_000,
    "aliases": "- &a x\n" + "- *a\n" * 200_000,
    "directives": "%TAG !a! b\n" * 90_000,
    "different directives": "".join(f"%TAG !{i}! b\n" for i in range(60_000)),
    "directives after blanks": "# x\n\u2028%TAG !a! b\n%TAG !b! b\n" * 36_000,
    "long key": "a" * 1_000_000 + ": 1",
    "tags": "! " * 524_288,
    "colons": ": " * 524_288,
    "keys": "".join(f"k{i}:\n" for i in range(120_000)),
    "same key": "a: 1\n" * 200_000,
    "tabs": "\t" * 1_048_576,
    "number": "9" * 1_048_576,
    "fraction": "1." + "9" * 1_000_000,
    "control": "a" * 1_000_000 + "\x01",
    "wide": "[" * 60 + "a," * 500_000,
    "escapes": '"' + "\\n" * 524_000,
    "apostrophes": "'" * 1_048_575,
}


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="the bound is libyaml's")
@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_mebibyte_is_refused_soon(name: str) -> None:
    text = NASTY[name]
    assert len(text.encode()) <= MAX_BYTES, "the size alone would refuse it"
    began = time.process_time()
    refusal(text)
    assert time.process_time() - began < 3.0  # 0.5 s where this was written


# ---- properties ----

YAMLISH = st.text(
    list("ab1.0--::?,[]{}#&*!|>'\"%@`~  \t\n\n\r\\x/uU<=é\x85\u2028\ufeff\0"), max_size=60
)


@pytest.mark.parametrize("chosen", LOADERS)
@settings(max_examples=400, deadline=None)
@given(text=st.one_of(st.text(max_size=80), YAMLISH))
@example(text="\ufeff\ufeff")
@example(text="a\ufeff: 1")
@example(text="%YAML 1")
@example(text="&a &b c")
@example(text="*a")
@example(text="--- |\n%TAG")
@example(text='"\\x')
@example(text="- - -\n - -")
def test_any_text_gives_documents_or_invalid_spec(chosen: type, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "_LOADER", chosen)
        found, error = attempt(text)
    assert error is None or error.startswith("f.yaml")
    assert error is None or error.isprintable()
    for one in found:
        json.dumps(one.value).encode("utf-8")
        assert all(line >= 1 and column >= 1 for line, column in one.positions.values())


# Zl and Zp end a line in YAML 1.1, and a key has one line.
TEXTS = st.text(
    st.characters(
        min_codepoint=1, max_codepoint=0x1FFFF, exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp")
    ),
    max_size=20,
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("chosen", LOADERS)
@settings(max_examples=200, deadline=None)
@given(value=VALUES)
def test_json_is_read_as_what_it_is(chosen: type, value: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "_LOADER", chosen)
        [found] = load_documents(json.dumps(value, ensure_ascii=False, indent=1), "f.json")
    assert found.value == value
    assert repr(found.value) == repr(value)


@settings(max_examples=200, deadline=None)
@given(value=VALUES)
def test_every_path_of_the_value_has_a_position(value: object) -> None:
    [found] = load_documents(json.dumps(value, ensure_ascii=False), "f.json")

    def paths(part: object, path: document.Path) -> set[document.Path]:
        result = {path}
        if isinstance(part, dict):
            for key, inner in part.items():
                result |= paths(inner, (*path, key))
        if isinstance(part, list):
            for index, inner in enumerate(part):
                result |= paths(inner, (*path, index))
        return result

    assert set(found.positions) == paths(found.value, ())
