"""Selectors: the grammar, case by case, and any text at all."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piccolo.core.errors import InvalidSpec
from piccolo.core.selectors import check_labels, parse

quick = settings(derandomize=True, deadline=None, max_examples=150)

FIELDS = frozenset({"status", "role"})
LABELS = {"zone": "front", "arch": "amd64", "canary": "", "example.com/tier": "a_1"}
VALUES = {"status": "Ready", "role": "sub"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("   ", True),
        ("zone=front", True),
        ("zone==front", True),
        ("zone = front", True),
        ("  zone  ==  front  ", True),
        ("zone=rear", False),
        ("zone=Front", False),
        ("zone!=rear", True),
        ("zone != front", False),
        ("zone", True),
        ("!zone", False),
        ("old", False),
        ("!old", True),
        ("old=x", False),
        ("old!=x", True),  # as Kubernetes has it: what is not there is not x
        ("canary", True),
        ("canary=", True),
        ("zone=", False),
        ("old=", False),
        ("example.com/tier=a_1", True),
        (".status=Ready", True),
        (".status!=Ready", False),
        (".status", True),
        ("!.status", False),
        ("status=Ready", False),  # without the dot it is a label
        ("zone=front,arch!=arm64,canary,!old,.status=Ready", True),
        ("zone=front,arch!=amd64", False),
        ("zone=rear,arch=amd64", False),
        ("zone=front , .role=sub", True),
    ],
)
def test_selected(text: str, selected: bool) -> None:
    assert parse(text, FIELDS)(LABELS, VALUES) is selected


@pytest.mark.parametrize(
    ("text", "term"),
    [
        (",", ""),
        ("zone,", ""),
        ("zone=front,,arch", ""),
        ("=front", "=front"),
        ("!", "!"),
        ("!zone=front", "!zone=front"),
        ("zone=a=b", "zone=a=b"),
        ("zone===front", "zone===front"),
        ("zone!front", "zone!front"),
        ("zone>1", "zone>1"),
        ("zone in (a)", "zone in (a)"),
        ("zone=a,-x=b", "-x=b"),
        ("zone_=a", "zone_=a"),
        ("zöne=a", "zöne=a"),
        ("..status=Ready", "..status=Ready"),
    ],
)
def test_not_understood(text: str, term: str) -> None:
    with pytest.raises(InvalidSpec, match="is not understood; write key=value") as caught:
        parse(text, FIELDS)
    assert f'"{term}"' in str(caught.value)


def test_a_field_that_does_not_exist_is_an_error_that_names_those_that_do() -> None:
    with pytest.raises(InvalidSpec, match=r'the field "\.colour"; there are \.role, \.status'):
        parse("zone=front,.colour=red", FIELDS)


alphabet = st.text(alphabet="ab.-_/=!, \t\n1é", max_size=30)


@quick
@given(alphabet | st.text())
def test_any_text_is_a_predicate_or_invalid(text: str) -> None:
    try:
        selected = parse(text, FIELDS)
    except InvalidSpec:
        assert text.strip()
    else:
        assert isinstance(selected(LABELS, VALUES), bool)
        assert isinstance(selected({}, {}), bool)


names = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?", fullmatch=True)


@quick
@given(st.dictionaries(names, names, max_size=4), st.dictionaries(names, names, max_size=4))
def test_a_selector_made_of_labels_selects_what_has_them(
    wanted: dict[str, str], labels: dict[str, str]
) -> None:
    selected = parse(",".join(f"{k}={v}" for k, v in wanted.items()), frozenset())
    assert selected(labels, {}) is (wanted.items() <= labels.items())
    assert selected({**labels, **wanted}, {})
    for key, value in wanted.items():
        one = {key: labels[key]} if key in labels else {}
        assert parse(f"{key}!={value}", frozenset())(one, {}) is (labels.get(key) != value)
        assert parse(f"!{key}", frozenset())(labels, {}) is (key not in labels)


@pytest.mark.parametrize(
    "text", ["a=" + " " * 100_000 + "=", "a" * 100_000 + "?", "a" + " " * 100_000 + "x"]
)
def test_a_long_text_is_refused_in_no_time(text: str) -> None:
    """Whoever may ask for nodes must not be able to stop the master with it."""
    before = time.perf_counter()
    with pytest.raises(InvalidSpec):
        parse(text, FIELDS)
    assert time.perf_counter() - before < 1.0


# ---- labels ----


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("zone", "front"),
        ("zone", ""),
        ("a", "1"),
        ("A-b_c.d", "A-b_c.d"),
        ("example.com/zone", "x"),
        ("x" * 63, "y" * 63),
        ("d" * 253 + "/x", "y"),
    ],
)
def test_good_labels(key: str, value: str) -> None:
    check_labels({key: value})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("", "x", 'label key ""'),
        ("-a", "x", "label key"),
        ("a-", "x", "label key"),
        ("a b", "x", "label key"),
        ("a\n", "x", "label key"),
        ("/x", "x", "label key"),
        ("Example.com/x", "x", "label key"),
        ("a/b/c", "x", "label key"),
        ("x" * 64, "x", "label key"),
        ("zone", "-x", "label zone"),
        ("zone", "x.", "label zone"),
        ("zone", "a,b", "label zone"),
        ("zone", "a=b", "label zone"),
        ("zone", "x\n", "label zone"),
        ("zone", "é", "label zone"),
        ("zone", "y" * 64, "label zone"),
    ],
)
def test_bad_labels(key: str, value: str, said: str) -> None:
    with pytest.raises(InvalidSpec, match="is not valid") as caught:
        check_labels({"good": "one", key: value})
    assert said in str(caught.value)


@quick
@given(st.dictionaries(names, names, min_size=1, max_size=3))
def test_every_good_label_can_be_selected(labels: dict[str, str]) -> None:
    check_labels(labels)
    for key, value in labels.items():
        assert parse(f"{key}={value}", frozenset())(labels, {})
