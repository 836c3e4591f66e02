"""Texts → workloads and actions: all documents together, with all their problems.

Each document is checked by itself; then what they say about each other: names that are defined
twice, Models and Packages, dependencies. What is not in these documents may be in the cluster:
that is a notice, not a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from pydantic import ValidationError

from piccolo.config.document import MAX_BYTES, Document, load_documents
from piccolo.config.manifests.base import ignored_in
from piccolo.config.manifests.finding import Finding, Found
from piccolo.config.manifests.json_text import as_yaml
from piccolo.config.manifests.kinds import Kind, model_of
from piccolo.config.manifests.known import Known
from piccolo.config.manifests.loading import Text
from piccolo.config.manifests.together import check_together
from piccolo.config.validation import explain
from piccolo.core.errors import InvalidSpec
from piccolo.core.words import printable
from piccolo.core.workloads.workload import Action, Workload

MAX_DOCUMENTS = 5000
MAX_VALUES = 20_000  # keys and items of one document: pydantic explains each that is wrong at once
MAX_EXPLAINED = 200  # problems of one document
MAX_PROBLEMS = 200  # shown of all; the rest is counted

_PLACE = re.compile(r":([0-9]+):([0-9]+): ")


@dataclass(frozen=True, slots=True)
class Manifests:
    """What is asked for, ready to be compared with what there is."""

    workloads: tuple[Workload, ...]
    actions: tuple[Action, ...]
    notices: tuple[str, ...]


@dataclass(slots=True)
class Reading:
    """All that was found in some texts."""

    found: list[Found] = field(default_factory=list)
    broken: list[Finding] = field(default_factory=list)  # texts that are no documents
    empty: list[Finding] = field(default_factory=list)  # texts without any: notices

    @property
    def problems(self) -> list[Finding]:
        return [*self.broken, *(p for f in self.found for p in f.problems)]

    @property
    def notices(self) -> list[Finding]:
        return [*self.empty, *(n for f in self.found for n in f.notices)]

    def manifests(self) -> Manifests:
        """Raises `InvalidSpec` with a line for each problem: all or nothing."""
        if problems := self.problems:
            lines = [str(p) for p in problems[:MAX_PROBLEMS]]
            if len(problems) > MAX_PROBLEMS:
                lines.append(f"and {len(problems) - MAX_PROBLEMS} more problems")
            raise InvalidSpec("\n".join(lines))
        made = [f.made for f in self.found]
        return Manifests(
            workloads=tuple(m for m in made if isinstance(m, Workload)),
            actions=tuple(m for m in made if isinstance(m, Action)),
            notices=tuple(map(str, self.notices)),
        )


def read(texts: Iterable[Text], known: Known | None = None) -> Reading:
    """All documents of `texts` (see `loading.read_all`), checked each and together, and beside what
    is `known` of the cluster.

    What is wrong with them is in the reading. Raises `InvalidSpec` only for what `texts` raises,
    and for too many documents.
    """
    reading = Reading()
    for source, text in texts:
        try:
            documents = load_documents(_text_of(text), source)
        except InvalidSpec as error:
            reading.broken.append(_broken(source, str(error)))
            continue
        filled = [d for d in documents if d.value is not None]
        if not filled:
            reading.empty.append(Finding(source, 0, 0, "there is no document in it"))
        for document in filled:
            reading.found.append(_check(document, several=len(documents) > 1))
        if len(reading.found) > MAX_DOCUMENTS:
            raise InvalidSpec(f"more than {MAX_DOCUMENTS} documents: name fewer files at a time")
    if not reading.found and not reading.broken:
        sources = ", ".join(f.source for f in reading.empty)
        reading.broken.append(Finding(sources or "nothing", 0, 0, "there is no document at all"))
        reading.empty.clear()
    check_together(reading.found, known)
    return reading


def _text_of(text: str | InvalidSpec) -> str:
    if isinstance(text, InvalidSpec):
        raise text
    return as_yaml(text) if len(text) <= MAX_BYTES else text


def _broken(source: str, message: str) -> Finding:
    rest = message.removeprefix(source)
    if place := _PLACE.match(rest):
        return Finding(source, int(place[1]), int(place[2]), rest[place.end() :])
    return Finding(source, 0, 0, rest.removeprefix(": "))


def _check(document: Document, *, several: bool) -> Found:
    found = Found(document, several)
    value = document.value
    model = model_of(value)
    if len(document.positions) > MAX_VALUES:
        model = (), f"more than {MAX_VALUES} keys and values in one document: split it"
    if isinstance(value, dict):
        found.kind = _named(value.get("kind"))
        metadata = value.get("metadata")
        found.name = _named(metadata.get("name")) if isinstance(metadata, dict) else ""
    if isinstance(model, tuple):
        found.report.problem(*model)
        return found
    try:
        checked = model.model_validate(value)
    except ValidationError as error:
        explained = explain(error, model, value)
        found.report.problems += islice(explained, MAX_EXPLAINED)
        if next(explained, None) is not None:
            found.report.problem((), "there are more problems: correct these first")
        return found
    for path, reason in ignored_in(checked):
        found.report.notice(path, f"has no effect: {reason}")
    found.made = cast(Kind, checked).made(found.report)
    return found


def _named(value: object) -> str:
    return printable(value[:100]) if isinstance(value, str) else ""
