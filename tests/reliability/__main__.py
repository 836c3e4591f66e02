"""Everything that PICCOLO is claimed to survive, tried to the full: `./dev lab --full`.

Takes about two hours, so it can be tried in parts: each section's newest result is kept, and
docs/reliability.md is made of what is kept. Exit code 1: something was not as expected, or could
not be tried. It leaves nothing running, however it ends.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Iterator

from benchmarks import machine
from benchmarks.ground import ROOT, lacking
from tests.lab.errors import LabError
from tests.reliability.document import document
from tests.reliability.outcome import Effort, Result, Row
from tests.reliability.sections import SECTIONS

DOCUMENT = ROOT / "docs" / "reliability.md"
KEPT = ROOT / ".cache" / "reliability"


def main() -> int:
    arguments = _arguments()
    if arguments.list:
        for name, section in SECTIONS.items():
            print(f"{name:14} {section.title}")
        return 0
    effort = Effort(arguments.seed, arguments.quick)
    print(f"seed {effort.seed}", flush=True)
    results = []
    for name in arguments.sections or ([] if arguments.write else SECTIONS):
        print(f"\n{SECTIONS[name].title} …", flush=True)
        described, begun, rows = machine.describe(), time.monotonic(), []
        for row in _tried(name, effort):
            rows.append(row)
            print("  " + "  |  ".join(row.cells()), flush=True)
        result = Result(name, effort, described, rows, time.monotonic() - begun)
        result.keep(KEPT)
        results.append(result)
        print(f"  took {result.seconds:.0f} s", flush=True)
    if arguments.write or not arguments.quick:
        kept = {name: Result.kept(KEPT, name) for name in SECTIONS}
        DOCUMENT.write_text(document(SECTIONS, {n: r for n, r in kept.items() if r is not None}))
        print(f"\nwritten: {DOCUMENT.relative_to(ROOT)}")
    broken = [row for result in results for row in result.rows if row.broken]
    for row in broken:
        print(f"BROKEN: {row.what}: expected {row.expected}, seen {row.seen}")
    return 1 if broken else 0


def _tried(name: str, effort: Effort) -> Iterator[Row]:
    """The rows of a section; one that cannot be tried (any more) says so, and counts as broken."""
    section = SECTIONS[name]
    if missing := lacking(section.needs):
        yield Row(section.title, "to be tried", f"this machine lacks {', '.join(missing)}", True)
        return
    try:
        yield from section.run(effort)
    except (LabError, OSError) as error:
        lines = str(error).splitlines()  # the first says what, the last, of a log, why
        yield Row(
            section.title, "to be tried", " … ".join(dict.fromkeys(lines[:1] + lines[-1:])), True
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev lab --full",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; default: all"
    )
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), metavar="S")
    parser.add_argument("--quick", action="store_true", help="a few of each; writes no document")
    parser.add_argument("--list", action="store_true", help="say what there is to try")
    parser.add_argument("--write", action="store_true", help="write the document of what is kept")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - SECTIONS.keys():
        parser.error(f"no section {', '.join(sorted(unknown))}: see ./dev lab --full --list")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
