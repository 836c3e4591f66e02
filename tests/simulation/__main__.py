"""The workload loop in virtual time, broken at random: `./dev simulate [--whole] [--minutes N]`.

By default the pure core alone, with 1 to 50 simulated agents: thousands of schedules per minute.
With --whole master and agent as they are shipped, with all their tasks: a few hundred.

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
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from tests.simulation import schedule as whole
from tests.simulation.clocks import repeatable
from tests.simulation.outcome import Outcome
from tests.simulation.pure import schedule as pure

Run = Callable[[int, int, Callable[[str], None] | None], Outcome]


def main() -> int:
    repeatable()
    arguments = _parser().parse_args()
    if not arguments.logs:
        logging.disable()
    else:
        logging.basicConfig(level=logging.DEBUG, format="          %(name)s: %(message)s")
    run: Run = whole.run if arguments.whole else pure.run
    more = " --whole" * arguments.whole + f" --nodes {arguments.nodes}" * bool(arguments.nodes)
    if arguments.seed is not None and not arguments.count and arguments.minutes is None:
        tell = print if arguments.verbose else None
        outcome = run(arguments.seed, arguments.nodes, tell)
        _show(outcome, more, story=not arguments.verbose)
        return 1 if outcome.broken else 0
    first = arguments.seed if arguments.seed is not None else secrets.randbits(31)
    minutes = 1.0 if arguments.minutes is None else arguments.minutes
    found = _many(run, first, arguments.nodes, arguments.count, minutes, more)
    if arguments.json:
        print(json.dumps(asdict(found)))
    else:
        print(found)
    return 1 if found.failed else 0


@dataclass(slots=True)
class Survey:
    """What many schedules gave."""

    first: int  # seed
    schedules: int = 0
    steps: int = 0  # what people and faults did
    longest: float = 0.0  # s of virtual time until all was as asked
    seconds: float = 0.0
    computed: float = 0.0  # s of one core
    failed: list[str] = field(default_factory=list)  # how each can be seen again

    def __str__(self) -> str:
        return (
            f"{self.schedules} schedules with {self.steps} operations and faults in"
            f" {self.seconds:.1f} s ({self.schedules / max(self.computed, 1e-9) * 60:.0f} per"
            f" minute of one core), seeds from {self.first}; as asked after {self.longest:g} s of"
            f" virtual time at most; {len(self.failed)} failed"
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
    parser.add_argument("--json", action="store_true", help="the last line for programs")
    parser.add_argument("--verbose", action="store_true", help="tell all that happens")
    parser.add_argument("--logs", action="store_true", help="… and what the programs log")
    return parser


def _many(run: Run, first: int, nodes: int, count: int, minutes: float, more: str) -> Survey:
    gc.freeze()  # what was imported stays
    gc.set_threshold(50_000, 20, 50)
    found = Survey(first)
    began, computed = time.perf_counter(), time.process_time()
    with suppress(KeyboardInterrupt):
        while found.schedules < count if count else time.perf_counter() - began < 60 * minutes:
            outcome = run(first + found.schedules, nodes, None)
            found.schedules += 1
            found.steps += outcome.steps
            found.longest = max(found.longest, outcome.took)
            if outcome.broken:
                _show(outcome, more, story=not found.failed)
                found.failed.append(_again(outcome, more))
    found.seconds = time.perf_counter() - began
    found.computed = time.process_time() - computed
    return found


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
