"""Schedules of the simulated cluster, with new seeds: `./dev simulate [--minutes N] [--seed S]`.

A failure is printed with what went on before it, and the command that shows it again; the exit code
is then 1. The seed decides everything, so the same seed is the same schedule on every machine.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time

from tests.simulation.clocks import repeatable
from tests.simulation.schedule import Outcome, run


def main() -> int:
    repeatable()
    arguments = _parser().parse_args()
    if not arguments.logs:
        logging.disable()
    else:
        logging.basicConfig(level=logging.DEBUG, format="          %(name)s: %(message)s")
    if arguments.seed is not None and not arguments.count:
        tell = print if arguments.verbose else None
        outcome = run(arguments.seed, arguments.nodes, tell)
        _show(outcome, arguments.nodes, story=not arguments.verbose)
        return 1 if outcome.broken else 0
    first = arguments.seed if arguments.seed is not None else secrets.randbits(31)
    return _many(first, arguments.nodes, arguments.count, arguments.minutes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=1.0, metavar="N", help="default: 1")
    parser.add_argument("--seed", type=int, metavar="S", help="this schedule alone")
    parser.add_argument(
        "--count", type=int, default=0, metavar="N", help="so many schedules, from the seed on"
    )
    parser.add_argument(
        "--nodes", type=int, default=0, metavar="N", help="1 to 50; default: 1 to 5, by the seed"
    )
    parser.add_argument("--verbose", action="store_true", help="tell all that happens")
    parser.add_argument("--logs", action="store_true", help="… and what the programs log")
    return parser


def _many(first: int, nodes: int, count: int, minutes: float) -> int:
    began, computed = time.perf_counter(), time.process_time()
    failures, done, steps, longest = 0, 0, 0, 0.0
    try:
        while done < count if count else time.perf_counter() - began < 60 * minutes:
            outcome = run(first + done, nodes)
            done += 1
            steps += outcome.steps
            longest = max(longest, outcome.took)
            if outcome.broken:
                failures += 1
                _show(outcome, nodes, story=failures == 1)
    except KeyboardInterrupt:
        pass
    took, computed = time.perf_counter() - began, time.process_time() - computed
    print(
        f"{done} schedules with {steps} operations and faults in {took:.1f} s"
        f" ({done / computed * 60:.0f} per minute of one core), seeds from {first};"
        f" as asked after {longest:g} s of virtual time at most; {failures} failed"
    )
    return 1 if failures else 0


def _show(outcome: Outcome, nodes: int, *, story: bool) -> None:
    if not outcome.broken:
        print(f"seed {outcome.seed}: as asked after {outcome.took:g} s")
        return
    if story:
        print("\n".join(outcome.story))
    for text in outcome.broken[:5]:
        print(f"FAILED: {text}")
    size = f" --nodes {nodes}" if nodes else ""
    print(f"to see it again: python -m tests.simulation --seed {outcome.seed}{size} --verbose\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
