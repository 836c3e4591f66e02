"""The workload loop in virtual time, broken at random: `./dev simulate [--whole] [--minutes N]`.

By default the pure core alone, with 1 to 50 simulated agents: thousands of schedules per minute.
With --whole master and agent as they are shipped, with all their tasks: a few hundred. Many
schedules keep all processors busy.

Each schedule: people change what is to run while links, agents, nodes and the master fail; then
nothing fails any more, and within 200 s of virtual time the cluster must be as asked, and stay so.
A failure is printed with what went on before it, and the command that shows it again; the exit code
is then 1. The seed decides everything, so the same seed is the same schedule on every machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import secrets
import sys
import time
from dataclasses import asdict

from tests.simulation import schedule as whole
from tests.simulation.clocks import repeatable
from tests.simulation.outcome import Outcome
from tests.simulation.pure import schedule as pure
from tests.simulation.survey import Run, Survey, Task, survey


def main() -> int:
    repeatable()
    arguments = _parser().parse_args()
    if not arguments.logs:
        logging.disable()
    else:
        logging.basicConfig(level=logging.DEBUG, format="          %(name)s: %(message)s")
    run: Run = whole.run if arguments.whole else pure.run
    more = " --whole" * arguments.whole + f" --nodes {arguments.nodes}" * bool(arguments.nodes)
    tell = print if arguments.verbose else None
    if arguments.seed is not None and not arguments.count and arguments.minutes is None:
        outcome = run(arguments.seed, arguments.nodes, tell)
        _show(outcome, more, story=not arguments.verbose)
        return 1 if outcome.broken else 0
    first = arguments.seed if arguments.seed is not None else secrets.randbits(31)
    seconds = 60.0 if arguments.minutes is None else 60 * arguments.minutes
    again: list[str] = []  # how each that failed can be seen again

    def failed(outcome: Outcome) -> None:
        _show(outcome, more, story=not (again or arguments.verbose))
        again.append(_again(outcome, more))

    gc.freeze()  # what was imported stays
    gc.set_threshold(50_000, 20, 50)
    began = time.monotonic()
    task = Task(run, first, arguments.nodes, arguments.count, began + seconds, tell)
    in_order = arguments.verbose or arguments.logs
    found = survey(task, 1 if in_order else arguments.jobs, failed)
    took = time.monotonic() - began
    if arguments.json:
        print(json.dumps({"first": first, **asdict(found), "seconds": took, "failed": again}))
    else:
        print(_summary(found, first, took, len(again)))
    return 1 if again else 0


def _summary(found: Survey, first: int, seconds: float, failed: int) -> str:
    rate = found.schedules / max(seconds, 1e-9) * 60
    of_core = found.schedules / max(found.computed, 1e-9) * 60
    return (
        f"{found.schedules} schedules with {found.steps} operations and faults in {seconds:.1f} s"
        f" ({rate:.0f} per minute in all, {of_core:.0f} per minute of one core), seeds from"
        f" {first}; as asked after {found.longest:g} s of virtual time at most; {failed} failed"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--whole", action="store_true", help="real masters and agents, not their core alone"
    )
    parser.add_argument("--minutes", type=float, metavar="N", help="for so long; default: 1")
    parser.add_argument("--seed", type=int, metavar="S", help="this schedule alone, or the first")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="so many schedules")
    parser.add_argument(
        "--nodes",
        type=int,
        default=0,
        metavar="N",
        help="1 to 50; default: by the seed, mostly few (with --whole 1 to 5)",
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=os.cpu_count() or 1,
        metavar="N",
        help="so many at once; default: one for each processor (with --verbose or --logs: 1)",
    )
    parser.add_argument("--json", action="store_true", help="the last line for programs")
    parser.add_argument("--verbose", action="store_true", help="tell all that happens")
    parser.add_argument("--logs", action="store_true", help="… and what the programs log")
    return parser


def _jobs(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes: give 1 or more")
    return int(text)


def _show(outcome: Outcome, more: str, *, story: bool) -> None:
    if not outcome.broken:
        print(f"seed {outcome.seed}: as asked after {outcome.took:g} s")
        return
    if story:
        print("\n".join(outcome.story))
    for text in outcome.broken[:5]:
        print(f"FAILED: {text}")
    print(f"to see it again: {_again(outcome, more)} --verbose\n", flush=True)


def _again(outcome: Outcome, more: str) -> str:
    return f"./dev simulate{more} --seed {outcome.seed}"


if __name__ == "__main__":
    sys.exit(main())
