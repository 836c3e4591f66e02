"""What documents say about each other: names, Packages and Models, dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from piccolo.config.document import Path
from piccolo.config.manifests.pullpiri import ModelInfo, Packed
from piccolo.core.dependencies import find_cycles
from piccolo.core.words import suggest
from piccolo.core.workload import (
    Action,
    Dependency,
    DependencyCondition,
    NetworkMode,
    RestartPolicy,
    Workload,
)

if TYPE_CHECKING:
    from piccolo.config.manifests.reading import Found

_NAME = ("metadata", "name")
_MAX_GUESSES = 20


def check_together(found: Sequence[Found]) -> None:
    """Reports to each document what is wrong with it beside the others, and completes Models."""
    _check_names(found)
    workloads = {f.made.name: f for f in found if isinstance(f.made, Workload)}
    _check_packages(found, workloads)
    _check_actions(found)
    _check_dependencies(workloads)


def _check_names(found: Sequence[Found]) -> None:
    """By what was written, so that a document with other problems takes part too."""
    first: dict[tuple[str, str], Found] = {}
    for f in found:
        family = f.kind if f.kind in ("Scenario", "Package") else "workload"
        other = first.setdefault((family, f.name), f)
        if f.name and other is not f:
            kind = "" if other.kind == f.kind else f" by a {other.kind}"
            place = other.document.place(_NAME)
            f.problem(_NAME, f'"{f.name}" is defined already{kind}: {place}')


def _guesser(names: Iterable[str]) -> Callable[[str], str]:
    """`suggest` among `names`, for the first few words only: it takes its time."""
    budget = iter(range(_MAX_GUESSES))
    return lambda word: suggest(word, names) if next(budget, None) is not None else ""


def _check_packages(found: Sequence[Found], workloads: dict[str, Found]) -> None:
    placed: dict[str, Found] = {}
    # A Model with problems of its own is there all the same.
    models = {f.name for f in found if f.kind == "Model"}
    guess = _guesser(models)
    for f in found:
        if not isinstance(f.made, Packed):
            continue
        for index, info in enumerate(f.made.models):
            path = ("spec", "models", index, "name")
            target = workloads.get(info.name)
            if target is None or target.kind != "Model":
                if info.name not in models:
                    hint = guess(info.name)
                    f.problem(path, f'there is no Model "{info.name}" in these documents{hint}')
            elif info.name in placed and placed[info.name] is not f:
                other = placed[info.name].document.place(_NAME)
                f.problem(path, f'the Model "{info.name}" is in another Package: {other}')
            else:
                placed[info.name] = f
                _place(target, f.made.name, info)
    for name, f in workloads.items():
        if f.kind == "Model" and name not in placed:
            f.report.notice((), "no Package names this Model: nothing can launch it")


def _place(target: Found, package: str, info: ModelInfo) -> None:
    model = target.made
    assert isinstance(model, Workload)
    if info.node:
        model = replace(model, placement=replace(model.placement, nodes=(info.node,)))
    if info.resources.network:
        if model.network.mode is NetworkMode.HOST:
            target.report.problem(
                ("spec", "hostNetwork"),
                f'the Package "{package}" gives it the network "{info.resources.network}"',
            )
        model = replace(model, network=replace(model.network, name=info.resources.network))
    target.made = replace(model, package=package)


def _check_actions(found: Sequence[Found]) -> None:
    packages = {f.name for f in found if f.kind == "Package"}
    guess = _guesser(packages)
    acted: dict[str, Found] = {}
    for f in found:
        if not isinstance(f.made, Action):
            continue
        target = f.made.package
        if target not in packages:
            f.report.notice(
                ("spec", "target"),
                f'the Package "{target}" is not in these documents: it must be in the cluster'
                f"{guess(target)}",
            )
        first = acted.setdefault(target, f)
        if first is not f and isinstance(first.made, Action) and first.made.kind != f.made.kind:
            place = first.document.place(("spec", "action"))
            f.problem(
                ("spec", "action"),
                f"{first.made.kind} and {f.made.kind} cannot both be done to the Package"
                f' "{target}" at once: {place}',
            )
    for f in found:
        if isinstance(f.made, Packed) and f.made.name not in acted:
            f.report.notice((), "it is declared only: a Scenario with action: launch starts it")


def _check_dependencies(workloads: dict[str, Found]) -> None:
    graph: dict[str, list[str]] = {}
    guess = _guesser(workloads)
    for name, f in workloads.items():
        assert isinstance(f.made, Workload)
        graph[name] = [d.workload for d in f.made.depends_on]
        for index, needed in enumerate(f.made.depends_on):
            _check_dependency(f, ("spec", "dependsOn", index), needed, workloads, guess)
    for cycle in find_cycles(graph):
        f = workloads[cycle[0]]
        index = graph[cycle[0]].index((*cycle, cycle[0])[1])
        way = " → ".join((*cycle, cycle[0]))
        f.problem(("spec", "dependsOn", index), f"none of these could ever start: {way}")


def _check_dependency(
    f: Found,
    path: Path,
    needed: Dependency,
    workloads: dict[str, Found],
    guess: Callable[[str], str],
) -> None:
    other = workloads.get(needed.workload)
    if other is None:
        f.report.notice(
            path,
            f'"{needed.workload}" is not in these documents: it must be in the cluster'
            f"{guess(needed.workload)}",
        )
        return
    target = other.made
    assert isinstance(target, Workload)
    condition = needed.condition
    if condition is DependencyCondition.HEALTHY and not target.probed:
        f.problem(path, f'"{target.name}" has no probes that could say that it is healthy')
    always = target.restart.policy is RestartPolicy.ALWAYS
    if condition is DependencyCondition.COMPLETED and always:
        f.problem(path, f'"{target.name}" never completes: its restart policy is Always')
