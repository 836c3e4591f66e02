from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, field_validator

from piccolo.config.agent import AgentFile
from piccolo.config.document import Document, load_documents
from piccolo.config.fields import Strict, raise_problems, reasoned
from piccolo.config.master_file import MasterFile
from piccolo.config.validation import MAX_PROBLEMS, path_text, validate, validate_flags
from piccolo.core.errors import InvalidSpec


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


def _even(value: int) -> int:
    if value % 2:
        raise InvalidSpec(f"{value} is odd {{so}}")
    return value


def _no_xx(items: dict[str, str]) -> dict[str, str]:
    raise_problems([((k,), f"{k} is bad", None) for k in items if k.startswith("xx")])
    return items


class Inner(Strict):
    size: int = 1
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    colour: Annotated[Colour, Field(strict=False)] = Colour.RED


class Outer(Strict):
    title: str
    on: bool = False
    mode: Literal["fast", "slow"] = "fast"
    even: Annotated[int, AfterValidator(reasoned(_even)), Field(ge=0, le=10)] = 0
    inner: Inner = Inner()
    items: Annotated[list[Inner], Field(max_length=3)] = Field(default_factory=list)
    by_name: dict[str, Inner] = Field(default_factory=dict)
    words: Annotated[dict[str, str], AfterValidator(_no_xx)] = Field(default_factory=dict)
    maybe: Inner | None = None
    aliased: int = Field(0, alias="camelCase")

    @field_validator("title")
    @classmethod
    def _short(cls, value: str) -> str:
        if len(value) > 20:
            raise ValueError("must be short")
        return value


def problems(text: str, model: type[BaseModel] = Outer) -> list[str]:
    documents = load_documents(text, "f.yaml")
    with pytest.raises(InvalidSpec) as caught:
        validate(model, documents[0])
    assert caught.value.__cause__ is None
    return str(caught.value).splitlines()


def valid(text: str) -> Outer:
    return validate(Outer, load_documents(text, "f.yaml")[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("on: false", '1:1: "title" is missing'),
        ("title: 3", '1:1: title: 3 must be text: put it in quotes, "3"'),
        ("title: true", '1:1: title: true must be text: put it in quotes, "true"'),
        ("title: [x]", "1:1: title: must be text, not a list"),
        ("title: {x: y}", "1:1: title: must be text, not a mapping (key: value)"),
        ("title: aaaaaaaaaaaaaaaaaaaaaaaa", "1:1: title: must be short"),
        ("title: x\non: yes", '2:1: on: must be true or false, not "yes"'),
        ("title: x\non: 1", "2:1: on: must be true or false, not 1"),
        ("title: x\nmode: fsat", '2:1: mode: "fsat" is not possible here: write fast or slow;'
         ' did you mean "fast"?'),
        ("title: x\nmode: 7", "2:1: mode: 7 is not possible here: write fast or slow"),
        ("title: x\nmode: [fast]", "2:1: mode: a list is not possible here: write fast or slow"),
        ("title: x\neven: 3", "2:1: even: 3 is odd {so}"),
        ("title: x\neven: 12", "2:1: even: 12 is too large: at most 10"),
        ("title: x\neven: -2", "2:1: even: -2 is too small: at least 0"),
        ("title: x\neven: two", '2:1: even: must be a whole number, not "two"'),
        ("title: x\neven: 1.5", "2:1: even: must be a whole number, not 1.5"),
        ("title: x\neven: true", "2:1: even: must be a whole number, not true"),
        ("title: x\ninner: 3", "2:1: inner: must hold keys (lines such as key: value), not a"
         " number"),
        ("title: x\ninner: [a]", "2:1: inner: must hold keys (lines such as key: value), not a"
         " list"),
        ("title: x\ninner:\n  ratio: 1", "3:3: inner.ratio: 1 is too large: less than 1"),
        ("title: x\ninner:\n  ratio: 0.0", "3:3: inner.ratio: 0.0 is too small: more than 0"),
        ("title: x\ninner:\n  ratio: .nan", "3:3: inner.ratio: must be a number, not nan"),
        ("title: x\ninner:\n  ratio: half", '3:3: inner.ratio: must be a number, not "half"'),
        ("title: x\ninner:\n  colour: gren", '3:3: inner.colour: "gren" is not possible here:'
         ' write red or green; did you mean "green"?'),
        ("title: x\nitems: {size: 1}", '2:1: items: must be a list (lines that begin with "- "),'
         " not a mapping (key: value)"),
        ("title: x\nitems:\n  - size: 1\n  - size: a", '4:5: items[1].size: must be a whole number,'
         ' not "a"'),
        ("title: x\nitems: [{}, {}, {}, {}]", "2:1: items: too many items: at most 3"),
        ("title: x\nby_name:\n  a/b: {size: a}", '3:9: by_name["a/b"].size: must be a whole'
         ' number, not "a"'),
        ("title: x\nwords: {a: b, xx: y}", "2:15: words.xx: xx is bad"),
        ("title: x\nwords: {a: 3}", '2:9: words.a: 3 must be text: put it in quotes, "3"'),
        ("title: x\nmaybe: {size: a}", '2:9: maybe.size: must be a whole number, not "a"'),
        ("- a", "1:1: must hold keys (lines such as key: value), not a list"),
        ("text", "1:1: must hold keys (lines such as key: value), not text"),
    ],
)  # fmt: skip
def test_one_problem_in_human_words(text: str, message: str) -> None:
    assert problems(text) == [f"f.yaml:{message}"]


def test_unknown_keys_are_refused_with_a_suggestion() -> None:
    inner = "allowed here: size, ratio, colour"
    assert problems("title: x\ninner: {colr: red}") == [
        f'f.yaml:2:9: inner: unknown key "colr"; did you mean "colour"? {inner}'
    ]
    assert problems("title: x\nitems: [{colr: red}]") == [
        f'f.yaml:2:10: items[0]: unknown key "colr"; did you mean "colour"? {inner}'
    ]
    assert problems("title: x\nby_name: {a: {Size: 1}}") == [
        f'f.yaml:2:15: by_name.a: unknown key "Size"; did you mean "size"? {inner}'
    ]
    assert problems("title: x\nmaybe: {zzz: 1}") == [
        f'f.yaml:2:9: maybe: unknown key "zzz"; {inner}'
    ]


def test_unknown_key_that_lives_elsewhere() -> None:
    [message] = problems("title: x\nratio: 1")
    assert message.startswith(
        'f.yaml:2:1: unknown key "ratio"; it belongs below "inner"; allowed here: title, on,'
    )


def test_other_spellings_of_a_key() -> None:
    for spelling in ("by-name", "byName", "by_names", "BY_NAME"):
        assert 'did you mean "by_name"?' in problems(f"title: x\n{spelling}: 1")[0]


def test_aliases_are_what_the_file_calls_a_key() -> None:
    assert valid("title: x\ncamelCase: 3").aliased == 3
    assert "camelCase" in problems("title: x\naliased: 1")[0]


def test_an_unknown_key_cannot_paint_the_terminal() -> None:
    [message] = problems('title: x\n"\\e[31m\\u202e": 1')
    assert message.isprintable()
    assert r"\x1b[31m\u202e" in message


def test_all_problems_in_the_order_of_the_file() -> None:
    text = "zzz: 1\non: 3\nitems:\n  - {size: a, ratio: b}\n  - {colour: c}\nmode: x\n"
    places = [line.split(" ")[0] for line in problems(text)]
    assert places == [
        "f.yaml:1:1:",
        "f.yaml:1:1:",
        "f.yaml:2:1:",
        "f.yaml:4:6:",
        "f.yaml:4:15:",
        "f.yaml:5:6:",
        "f.yaml:6:1:",
    ]


def test_very_many_problems_are_counted() -> None:
    lines = problems("title: x\n" + "".join(f"k{i}: 1\n" for i in range(500)))
    assert len(lines) == MAX_PROBLEMS + 1
    assert lines[-1] == f"f.yaml: and {500 - MAX_PROBLEMS} more problems"


def test_a_key_without_a_value_is_not_given() -> None:
    assert valid("title: x\ninner:\nitems:\non: ~\n") == valid("title: x")
    assert problems("title:") == ['f.yaml:1:1: "title" is missing']


def test_an_unknown_key_without_a_value_is_still_unknown() -> None:
    assert 'unknown key "zzz"' in problems("title: x\nzzz:\n")[0]


def test_an_empty_document_has_no_keys() -> None:
    [document] = load_documents("---\n", "f.yaml")
    with pytest.raises(InvalidSpec, match='"title" is missing'):
        validate(Outer, document)
    assert validate(Inner, document) == Inner()


def test_through_an_alias_the_alias_is_the_place() -> None:
    text = "title: x\nmaybe: &m {size: 1}\nby_name:\n  a: *m\n"
    assert valid(text).by_name["a"].size == 1
    bad = text.replace("{size: 1}", "{size: a}")
    assert [line.split(" ")[0] for line in problems(bad)] == ["f.yaml:2:12:", "f.yaml:4:3:"]


def test_path_text() -> None:
    assert path_text(("nodes", 2, "labels", "a/b")) == 'nodes[2].labels["a/b"]'
    assert path_text((0, "a")) == "[0].a"
    assert path_text(()) == ""


def test_flags() -> None:
    class Flags(Strict):
        data_dir: str | None = None
        names: list[Literal["a", "b"]] | None = None

    spelled = {"names": "--name"}
    assert validate_flags(Flags, {"data_dir": None, "names": ()}, spelled) == Flags()
    assert validate_flags(Flags, {"names": ("a", "b")}, spelled).names == ["a", "b"]
    with pytest.raises(InvalidSpec) as caught:
        validate_flags(Flags, {"data_dir": 3, "names": ["a", "c"]}, spelled)
    assert str(caught.value).splitlines() == [
        '--data-dir: 3 must be text: put it in quotes, "3"',
        '--name: "c" is not possible here: write a or b',
    ]


def test_a_message_is_a_line_of_bounded_length() -> None:
    text = "title: x\nwords:\n  xx" + "a" * 100_000 + ': "y"\n  "xx\\n\\e": x\n'
    lines = problems(text.replace("  xxa", "  ? xxa").replace(': "y"', '\n  : "y"'))
    assert len(lines) == 2
    assert all(len(line) < 1500 and line.isprintable() for line in lines)


# ---- whatever a file holds ----

KEYS = st.sampled_from(
    ["nodeagent", "nodes", "name", "ip", "role", "type", "link", "labels", "discovery", "listen",
     "data_dir", "store", "heartbeat", "interval", "misses", "reconnect_grace", "thresholds",
     "retention", "masters", "master_ip", "grpc_port", "metrics", "collection_interval", "system",
     "hostname", "cluster", "podman_socket", "log_level", "x", "", "[key]", "\x1b"]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["a", "10.0.0.1", "::1", "sub", "cloud", "wired", "5s", "sqlite", "etcd://a", "/x", "{x}"]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


@pytest.mark.slow
@pytest.mark.parametrize("model", [MasterFile, AgentFile, Outer])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=ANYTHING | st.dictionaries(KEYS, ANYTHING, max_size=8))
def test_any_value_gives_a_model_or_invalid_spec(model: type[BaseModel], value: object) -> None:
    try:
        validate(model, Document("f.yaml", value))
        error = "f.yaml:"
    except InvalidSpec as caught:
        error = str(caught)
    assert all(line.startswith("f.yaml:") and line.isprintable() for line in error.splitlines())


@pytest.mark.slow
def test_very_many_problems_are_found_soon() -> None:
    text = "nodes: [" + "a," * 140_000 + "]"
    began = time.process_time()
    assert len(problems(text, MasterFile)) == MAX_PROBLEMS + 1
    assert time.process_time() - began < 10.0  # 1 s where this was written
