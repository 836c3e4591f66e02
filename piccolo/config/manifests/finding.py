"""What was found in a document, and what is wrong with it, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from piccolo.config.document import Document, Path
from piccolo.config.manifests.base import Report
from piccolo.config.manifests.kinds import Made
from piccolo.config.validation import path_text, said


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem or notice, with its place; line and column from 1, 0: the source as a whole."""

    source: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.source}{place}: {self.message}"


@dataclass(slots=True)
class Found:
    """One document, as far as it could be understood."""

    document: Document
    several: bool  # whether its source has more than one
    kind: str = ""
    name: str = ""
    made: Made | None = None
    report: Report = field(default_factory=Report)

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.name) if part) or "document"

    @property
    def label(self) -> str:
        number = f"document {self.document.number}" if self.several else ""
        named = f"{self.kind} {self.name}" if self.kind and self.name else self.kind
        return ", ".join(part for part in (number, named) if part)

    def problem(self, path: Path, message: str) -> None:
        self.report.problem(path, message)

    @property
    def problems(self) -> list[Finding]:
        ordered = sorted(self.report.problems, key=lambda p: self.document.position(p.path))
        return [self._finding(p.path, said(p, self.document)) for p in ordered]

    @property
    def notices(self) -> list[Finding]:
        return [
            self._finding(path, f"{path_text(path)}: {message}" if path else message)
            for path, message in sorted(
                self.report.notices, key=lambda n: self.document.position(n[0])
            )
        ]

    def _finding(self, path: Path, message: str) -> Finding:
        label = f"{self.label}: " if self.label else ""
        return Finding(self.document.source, *self.document.position(path), label + message)
