"""All sections, in the order of the document."""

from __future__ import annotations

from benchmarks.ground import PODMAN
from tests.reliability import agreement, kills, rebuild
from tests.reliability.outcome import Section

SECTIONS: dict[str, Section] = {
    "kills": Section("Programs that are killed", kills.run, PODMAN),
    "agreement": Section("Clients that change the same thing at once", agreement.run),
    "rebuild": Section("A master rebuilt from a backup", rebuild.run, PODMAN),
}
