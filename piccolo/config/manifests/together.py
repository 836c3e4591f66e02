"""What documents say about each other: names, Packages and Models, dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from piccolo.config.manifests.finding import Found
from piccolo.config.manifests.known import Known, tell
from piccolo.config.manifests.pullpiri import ModelInfo, Packed
from piccolo.core.words import suggest
from piccolo.core.workloads.dependencies import find_cycles
from piccolo.core.workloads.workload import (
    Action,
    Dependency,
    DependencyCondition,
    NetworkMode,
    RestartPolicy,
    Workload,
)

_NAME = ("metadata", "name")
_MAX_GUESSES = 20


def check_together(found: Sequence[Found], known: Known | None = None) -> None:
    """Reports to each document what is wrong with it beside the others, and completes Models.

    `known`: what they come on top of; None: nobody knows what the cluster has.
    """
    _check_names(found)
    workloads = {f.made.name: f for f in found if isinstance(f.made, Workload)}
    _check_packages(found, workloads)
    _check_actions(found, known)
    _check_dependencies(workloads, known)
    for f in workloads.values():
        if known is not None and isinstance(f.made, Workload):
            tell(f.made, f.document.value, known, f.report)


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


def _check_actions(found: Sequence[Found], known: Known | None) -> None:
    there = known.packages if known else frozenset()
    packages = {f.name for f in found if f.kind == "Package"} | there
    guess = _guesser(packages)
    acted: dict[str, Found] = {}
    for f in found:
        if not isinstance(f.made, Action):
            continue
        target = f.made.package
        if target not in packages and known is not None:
            f.problem(("spec", "target"), _no_package(target, packages) + guess(target))
        elif target not in packages:
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
        if isinstance(f.made, Packed) and f.made.name not in acted and f.made.name not in there:
            f.report.notice((), "it is declared only: a Scenario with action: launch starts it")


def _no_package(name: str, packages: Iterable[str]) -> str:
    names = ", ".join(sorted(packages)[:_MAX_GUESSES])
    there = f"there are {names}" if names else "there are none: apply it, with its Models"
    return f'there is no Package "{name}", here or in the cluster; {there}'


def _check_dependencies(workloads: dict[str, Found], known: Known | None) -> None:
    others = {n: w for n, w in (known or Known()).workloads.items() if n not in workloads}
    graph = {name: [d.workload for d in other.depends_on] for name, other in others.items()}
    guess = _guesser([*workloads, *others])
    for name, f in workloads.items():
        assert isinstance(f.made, Workload)
        graph[name] = [d.workload for d in f.made.depends_on]
        for index, needed in enumerate(f.made.depends_on):
            path = ("spec", "dependsOn", index)
            target = workloads[needed.workload].made if needed.workload in workloads else None
            target = target or others.get(needed.workload)
            if isinstance(target, Workload):
                if never := _never(needed, target):
                    f.problem(path, never)
                continue
            here = "here or in the cluster: it waits for it" if known else ""
            here = here or "in these documents: it must be in the cluster"
            missing = f'"{needed.workload}" is not {here}'
            f.report.notice(path, missing + guess(needed.workload))
    for cycle in find_cycles(graph):
        _report_cycle(cycle, graph, workloads)
    for other in others.values():
        for needed in other.depends_on:
            target = workloads[needed.workload].made if needed.workload in workloads else None
            if isinstance(target, Workload) and (never := _never(needed, target)):
                f = workloads[needed.workload]
                f.report.notice((), f'"{other.name}" waits for ever: {never}')


def _never(needed: Dependency, target: Workload) -> str:
    """Why the condition can never hold; empty: it can."""
    if needed.condition is DependencyCondition.HEALTHY and not target.probed:
        return f'"{target.name}" has no probes that could say that it is healthy'
    always = target.restart.policy is RestartPolicy.ALWAYS
    if needed.condition is DependencyCondition.COMPLETED and always:
        return f'"{target.name}" never completes: its restart policy is Always'
    return ""


def _report_cycle(
    cycle: tuple[str, ...], graph: dict[str, list[str]], workloads: dict[str, Found]
) -> None:
    first = next((n for n, name in enumerate(cycle) if name in workloads), None)
    if first is None:
        return  # it was there before these documents
    cycle = (*cycle[first:], *cycle[:first])
    way = (*cycle, cycle[0])
    index = graph[way[0]].index(way[1])
    message = f"none of these could ever start: {' → '.join(way)}"
    workloads[way[0]].problem(("spec", "dependsOn", index), message)
