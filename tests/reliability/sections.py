"""All sections, in the order of the document."""

from __future__ import annotations

from tests.reliability.outcome import Section

SECTIONS: dict[str, Section] = {}
