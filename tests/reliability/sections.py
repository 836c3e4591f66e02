"""All sections, in the order of the document."""

from __future__ import annotations

from benchmarks.ground import NETWORK, PODMAN
from tests.reliability import (
    agreement,
    calm,
    convergence,
    detection,
    faults,
    fuzz,
    kills,
    rebuild,
    scale,
    soak,
)
from tests.reliability.outcome import Section

SECTIONS: dict[str, Section] = {
    "detection": Section("How soon a lost node is noticed", detection.run, NETWORK),
    "calm": Section("A bad network is not a dead node", calm.run, NETWORK),
    "faults": Section("Every fault, and what becomes of it", faults.run, PODMAN),
    "kills": Section("Programs that are killed", kills.run, PODMAN),
    "agreement": Section("Clients that change the same thing at once", agreement.run),
    "rebuild": Section("A master rebuilt from a backup", rebuild.run, PODMAN),
    "convergence": Section("A cluster that comes to be as asked", convergence.run),
    "scale": Section("A thousand agents", scale.run),
    "soak": Section("Twenty minutes of faults", soak.run, PODMAN),
    "fuzz": Section("Input that nobody should send", fuzz.run),
}
