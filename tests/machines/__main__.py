"""Machines to work on by hand: `python -m tests.machines [NAME …]`, see docs/machines.md."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence

from tests.lab.errors import LabError
from tests.lab.net import Network
from tests.machines.bundle import find_bundle
from tests.machines.machine import Machine


def serve(machines: Sequence[Machine]) -> None:
    """Boot them and give a shell on the first, until that ends."""
    for machine in machines:
        machine.boot()
        machine.import_image()
        print(f"{machine.name} ({machine.ip}): {machine.command('bash', '-l')}")
    with contextlib.suppress(LabError):  # there may be things to do without one
        bundle = find_bundle()
        machines[0].copy_in(bundle, f"/root/{bundle.name}")
    print(f"A shell on {machines[0].name}; all are gone when it ends.")
    machines[0].interact()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__)
    parser.add_argument("names", nargs="*", default=["master", "node"], metavar="NAME")
    names = parser.parse_args().names
    try:
        with Network() as network:
            serve([Machine(network, name) for name in names])
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
