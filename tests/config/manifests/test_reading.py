"""All documents together: places, names, dependencies; and whatever else may come in."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piccolo.config.manifests.finding import Finding
from piccolo.config.manifests.kinds import INSTEAD, KINDS
from piccolo.config.manifests.reading import Manifests, read
from piccolo.core.errors import InvalidSpec
from tests.config.manifests.documents import (
    deployment,
    model,
    native,
    notices,
    one,
    package,
    pod,
    problems,
    reading,
    scenario,
)


def test_a_problem_names_file_line_document_object_and_path() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: []\n"
    found = reading(native("b"), text, source="app.yaml")
    [problem] = found.problems
    place = "app.yaml:12:3: document 2, Pod a: "
    assert str(problem) == f"{place}spec.containers: too few items: at least 1"
    with pytest.raises(InvalidSpec) as caught:
        found.manifests()
    assert str(caught.value) == str(problem)


def test_all_or_nothing_and_every_problem() -> None:
    found = reading(native("a", replicas=-1), native("b"), pod("c", tty=1))
    assert len(found.problems) == 2
    with pytest.raises(InvalidSpec) as caught:
        found.manifests()
    assert len(str(caught.value).splitlines()) == 2


TEXTS = "😀é/\t\\ud83d\\ude00\u2028", "\\" * 3 + "😀"


@pytest.mark.parametrize("value", TEXTS)
@pytest.mark.parametrize("indent", [None, 4, "\t"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_is_taken(value: str, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(native(env={"A": value}), indent=indent, ensure_ascii=ascii_only)
    assert one(text).containers[0].env == {"A": value}
    assert one(text.replace("/", "\\/")).containers[0].env == {"A": value}


def test_tabs_in_yaml_that_looks_like_json_are_left_alone() -> None:
    text = f"{json.dumps(native())}\n---\n{json.dumps(native('b'))[:-2]}, args: ['\n\tx']}}}}"
    assert reading(text).manifests().workloads[1].containers[0].args == (" x",)
    second = f"{yaml.safe_dump(native('b'))}  args:\n  - |\n    y\n\n    \tx\n"
    block = f"{json.dumps(native())}\n---\n{second}"
    assert reading(block).manifests().workloads[1].containers[0].args == ("y\n\n\tx\n",)


def test_half_a_character_is_refused() -> None:
    text = json.dumps(native(env={"A": "HERE"}))
    for half in (r"\ud83d", r"\ude00", r"\\ud83d\ude00"):
        assert len(problems(text.replace("HERE", half))) == 1


@given(st.text(max_size=30))
def test_any_text_in_json(value: str) -> None:
    text = json.dumps(native(env={"A": value}))
    found = reading(text)
    if found.problems:
        assert "no text may hold" in found.problems[0].message or "allowed" in str(found.problems)
    else:
        assert one(text).containers[0].env == {"A": value}


def test_empty_documents_between_others_are_nothing() -> None:
    text = f"---\n---\n# nothing\n---\n{yaml.safe_dump(native())}---\n"
    assert len(reading(text).manifests().workloads) == 1


def test_a_file_without_documents_is_told_and_nothing_at_all_refused() -> None:
    found = read([("a.yaml", "# nothing\n"), ("b.yaml", yaml.safe_dump(native()))])
    assert found.problems == []
    assert found.notices == [Finding("a.yaml", 0, 0, "there is no document in it")]
    found = read([("a.yaml", "# nothing\n"), ("b.yaml", "---\n")])
    assert [str(p) for p in found.problems] == ["a.yaml, b.yaml: there is no document at all"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({}, '"kind" is missing: write Workload (piccolo.io/v1), Pod (v1), Deployment'),
        ({"kind": 5}, "kind: must be text, not a number"),
        ({"kind": "Workload"}, "for Workload write apiVersion: piccolo.io/v1"),
        ({"kind": "Pod", "apiVersion": "v2"}, 'apiVersion: for Pod write apiVersion: v1, not "v2"'),
        ({"kind": "Pod", "apiVersion": 1}, "not 1"),
        ({"kind": "Podd"}, '"Podd" is not supported; did you mean "Pod"? there are Workload'),
        ({"kind": "zzz"}, '"zzz" is not supported: there are Workload (piccolo.io/v1), Pod'),
        ({"kind": "ConfigMap"}, '"ConfigMap" is not supported; instead: write the values'),
        ([], "a document must hold keys such as apiVersion and kind, not a list"),
        ("text", "not text"),
        (5, "not a number"),
        ({"kind": "Pod", "apiVersion": "v1", "metadata": 5}, "metadata: must hold keys"),
        ({"kind": "Pod", "apiVersion": "v1"}, '"metadata" is missing'),
    ],
)
def test_documents_that_are_no_documents(value: object, reason: str) -> None:
    found = problems(json.dumps(value))
    assert any(reason in p for p in found), found


def test_no_hint_is_for_a_kind_that_there_is() -> None:
    assert not INSTEAD.keys() & KINDS.keys()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\n\tb: 2\n", "a tab is used for indentation"),
        ("kind: Pod\nkind: Pod\n", '"kind" is given twice: first on line 1'),
        ("a: &a [x]\nb: *c\n", '"*c" refers to nothing'),
        ("a: !!python/object x\n", "tags such as"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("x" * 2_000_000, "2.0 MB are more than the 1 MiB allowed"),
        ("[" * 10_000_000, "10.0 MB are more than the 1 MiB allowed"),
        ("- [a]\n" * 90_000, "more than 150000 keys and values"),
        ("a: \x01", "is not allowed in YAML"),
        ("a: " + "9" * 100, "is too long for a number"),
    ],
)
def test_texts_that_are_no_documents(text: str, reason: str) -> None:
    started = time.perf_counter()
    [problem] = problems(text)
    assert reason in problem
    assert time.perf_counter() - started < 5


def test_aliases_that_repeat_too_much() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 30):
        bomb += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n"
    [problem] = problems(bomb)
    assert 'aliases ("*…") repeat too much' in problem


def test_a_broken_text_does_not_hide_the_problems_of_others() -> None:
    bad = yaml.safe_dump(native("a", replicas=-1))
    found = read([("a.yaml", "a: ["), ("b.yaml", InvalidSpec("b.yaml: gone")), ("c.yaml", bad)])
    assert [p.source for p in found.problems] == ["a.yaml", "b.yaml", "c.yaml"]
    assert found.problems[0].line > 0 == found.problems[1].line
    assert found.problems[1].message == "gone"


@pytest.mark.parametrize(
    "second", [native(), pod(), deployment(), model("web")], ids=lambda d: str(d["kind"])
)
def test_two_that_define_one_name(second: Any) -> None:
    texts = [("a.yaml", yaml.safe_dump(native())), ("b.yaml", yaml.safe_dump(second))]
    [problem] = read(texts).problems
    assert problem.source == "b.yaml"
    by = "" if second["kind"] == "Workload" else " by a Workload"
    assert f'metadata.name: "web" is defined already{by}: a.yaml:' in problem.message


def test_one_name_for_things_of_different_kinds() -> None:
    documents = [scenario("a", target="a"), package("a", {"name": "a"}), model("a")]
    assert problems(*documents) == []


def test_a_name_that_is_defined_twice_is_told_beside_other_problems() -> None:
    found = problems(native(replicas=-1), native())
    assert len(found) == 2
    assert "is defined already" in found[1]


def needs(name: str, *others: str, condition: str = "running", **spec: Any) -> Any:
    needed = [{"workload": o, "condition": condition} for o in others]
    return native(name, dependsOn=needed, **spec)


def test_cycles_are_printed() -> None:
    found = problems(needs("a", "b"), needs("b", "c"), needs("c", "a"), needs("d", "a"))
    assert found == [
        "document 1, Workload a: spec.dependsOn[0]: none of these could ever start: a → b → c → a"
    ]


def test_conditions_that_could_never_hold() -> None:
    [problem] = problems(needs("a", "b", condition="healthy"), native("b"))
    assert '"b" has no probes that could say that it is healthy' in problem
    [problem] = problems(needs("a", "b", condition="completed"), pod("b"))
    assert '"b" never completes: its restart policy is Always' in problem
    probed = native("b", probes={"readiness": {"tcp": {"port": 1}}})
    assert problems(needs("a", "b", condition="healthy"), probed) == []
    ends = native("b", restart={"policy": "Never"})
    assert problems(needs("a", "b", condition="completed"), ends) == []


def test_what_is_depended_on_may_be_in_the_cluster() -> None:
    [notice] = notices(needs("a", "datebase"), native("database"))
    assert '"datebase" is not in these documents: it must be in the cluster' in notice
    assert notice.endswith('did you mean "database"?')


def test_200_workloads_take_less_than_a_second() -> None:
    names = [f"w{i}" for i in range(200)]
    probe = {"readiness": {"http": {"port": 80}}}
    documents = [
        needs(name, *names[:i][-5:], condition="healthy", env={"A": "1"}, probes=probe)
        for i, name in enumerate(names)
    ]
    text = "---\n".join(yaml.safe_dump(d) for d in documents)
    started = time.perf_counter()
    assert len(reading(text).manifests().workloads) == 200
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "spec",
    [
        {f"k{i}": 1 for i in range(30_000)},
        {"image": "x", "ports": [{}] * 30_000},
        {"image": "x", "dependsOn": [{"workload": f"x{i}"} for i in range(256)]},
        {"image": "a" + "._-a" * 100 + "!"},
    ],
)
def test_very_much_that_is_wrong_takes_bounded_time(spec: dict[str, Any]) -> None:
    text = json.dumps({**native(), "spec": spec})
    started = time.perf_counter()
    found = reading(text)
    assert len(found.problems) <= 201
    assert time.perf_counter() - started < 3


def test_too_many_documents() -> None:
    with pytest.raises(InvalidSpec, match="more than 5000 documents"):
        read([("a", "--- 1\n" * 5001)])


KEYS = sorted(
    {"apiVersion", "kind", "metadata", "name", "spec", "image", "containers", "env", "ports"}
    | {"mounts", "volumes", "probes", "template", "selector", "condition", "models", "files"}
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([*KINDS, "v1", "apps/v1", "piccolo.io/v1", "a", "10s", "64Mi", "/a"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
PLENTY = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def read_or_refuse(text: str) -> None:
    found = read([("f", text)])
    for line in map(str, (*found.problems, *found.notices)):
        assert line.startswith(("f:", "f, "))
        assert line.isprintable()
    if found.problems:
        with pytest.raises(InvalidSpec):
            found.manifests()
    else:
        assert isinstance(found.manifests(), Manifests)


@given(st.text(alphabet=st.characters(codec=None), max_size=60))
@PLENTY
def test_any_text(text: str) -> None:
    read_or_refuse(text)


@given(kind=st.sampled_from(sorted(KINDS)), spec=VALUES, name=SCALARS, more=VALUES)
@PLENTY
def test_any_value_in_any_kind(kind: str, spec: Any, name: Any, more: Any) -> None:
    document = {"apiVersion": KINDS[kind][0], "kind": kind, "metadata": {"name": name}}
    documents = [{**document, "spec": spec}, more]
    read_or_refuse("---\n".join(json.dumps(d) + "\n" for d in documents))


EXAMPLES = [
    native(containers=[{"name": "a", "image": "x", "probes": {"liveness": {"tcp": {"port": 1}}}}]),
    native(env={"A": "1"}, ports=[{"containerPort": 1}], mounts=[{"path": "/a", "volume": "v"}]),
    deployment(strategy={"rollingUpdate": {"maxUnavailable": 1}}),
    pod(volumes=[{"name": "v", "emptyDir": {}}], securityContext={"runAsUser": 1}),
    scenario(),
    package(),
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for step, inner in items:
            found += paths(inner, (*path, step))
    return found


@given(data=st.data(), value=VALUES)
@settings(PLENTY, max_examples=300)
def test_any_value_at_any_place_of_a_good_document(data: st.DataObject, value: Any) -> None:
    document = json.loads(json.dumps(data.draw(st.sampled_from(EXAMPLES))))
    *way, last = data.draw(st.sampled_from(paths(document)[1:]))
    holder = document
    for step in way:
        holder = holder[step]
    holder[last] = value
    read_or_refuse(json.dumps(document))
