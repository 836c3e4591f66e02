"""`./dev bench`: measures, and prints one table.

A whole run takes most of an hour, so it can be made in parts: each benchmark's newest result is
kept, and `--write` makes docs/benchmarks.md of them.

It judges nothing: a missed target is a word in the table. The exit code is 1 only when something
could not be measured at all. It leaves nothing running, however it ends.
"""

from __future__ import annotations

import argparse
import compileall
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from benchmarks import imports, machine, report
from benchmarks.abuse import abuse
from benchmarks.client import client
from benchmarks.containers import containers, weak_machine
from benchmarks.crowd import crowd
from benchmarks.deploying import deploy, fleet, recovery
from benchmarks.faults import faults, outage
from benchmarks.figures import QUICK, Figure, Plan, Result
from benchmarks.ground import NETWORK, PODMAN, ROOT, lacking
from benchmarks.lossy import lossy
from benchmarks.starting import agent_start, ten_agents
from benchmarks.steady import busy, idle
from tests.lab.errors import LabError


class Benchmark(NamedTuple):
    measure: Callable[[Plan], Iterator[Figure]]
    needs: str = ""  # see `ground.lacking`; without: it does what it can on any machine

    @property
    def method(self) -> str:
        return inspect.getdoc(self.measure) or ""


BENCHMARKS = {
    "agent-start": Benchmark(agent_start),
    "ten-agents": Benchmark(ten_agents),
    "client": Benchmark(client),
    "faults": Benchmark(faults),
    "outage": Benchmark(outage, NETWORK),
    "containers": Benchmark(containers, PODMAN),
    "weak-machine": Benchmark(weak_machine, PODMAN),
    "deploy": Benchmark(deploy, PODMAN),
    "fleet": Benchmark(fleet, PODMAN),
    "recovery": Benchmark(recovery, PODMAN),
    "idle": Benchmark(idle),
    "busy": Benchmark(busy, PODMAN),
    "lossy": Benchmark(lossy, NETWORK),
    "crowd": Benchmark(crowd),
    "abuse": Benchmark(abuse),
}
FAILED = "it failed"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
KEPT = ROOT / ".cache" / "benchmarks"


def main() -> int:
    args = _arguments()
    if args.list:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:14} {' '.join(benchmark.method.split()).partition('. ')[0]}")
        print(f"{'imports':14} {(imports.__doc__ or '').splitlines()[0]}")
        return 0
    _as_installed()
    names = [name for name in args.names if name != "imports"]
    if "imports" in args.names:
        imports.show()
        if not names:
            return 0
    plan = QUICK if args.quick else Plan()
    if args.runs:
        plan = replace(plan, runs=args.runs)
    results: list[Result] = []
    for name in names or ([] if args.write else BENCHMARKS):
        figures = []
        described = machine.describe()
        for figure in _measured(name, plan):
            figures.append(figure)
            _say(f"    {'  '.join(figure.cells())}")
        results.append(Result(name, plan, described, figures))
        results[-1].keep(KEPT)
    if results:
        for name, value in results[-1].machine.items():
            print(f"{name}: {value}")
        figures = [figure for result in results for figure in result.figures]
        print(f"\n{report.extent(plan)}\n\n{report.terminal(figures)}\n")
    if args.write or not names:
        methods = {name: benchmark.method for name, benchmark in BENCHMARKS.items()}
        kept = [Result.kept(KEPT, name) for name in BENCHMARKS]
        DOCUMENT.write_text(report.document([r for r in kept if r is not None], methods))
        print(f"written: {DOCUMENT.relative_to(ROOT)}")
    failed = any(f.unless.startswith(FAILED) for r in results for f in r.figures)
    return 1 if failed else 0


def _measured(name: str, plan: Plan) -> Iterator[Figure]:
    """What a benchmark gives; when it gives nothing (more), a figure without values says why."""
    benchmark = BENCHMARKS[name]
    if missing := lacking(benchmark.needs):
        yield Figure(name, unless=f"this machine lacks {', '.join(missing)}")
        return
    _say(f"{name} …")
    begun = time.monotonic()
    try:
        yield from benchmark.measure(plan)
    except (LabError, OSError) as error:
        _say(f"    {error}")
        yield Figure(name, unless=f"{FAILED}: {str(error).splitlines()[0]}")
    _say(f"    took {time.monotonic() - begun:.0f} s; load average {os.getloadavg()[0]:.2f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure PICCOLO.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}, imports; default: all"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="default 10, with --quick 3")
    parser.add_argument("--quick", action="store_true", help="few runs, steady states of 60 s")
    parser.add_argument("--list", action="store_true", help="say what there is to measure")
    parser.add_argument(
        "--write", action="store_true", help=f"write {DOCUMENT.name} of what is kept"
    )
    args = parser.parse_args()
    if unknown := set(args.names) - {*BENCHMARKS, "imports"}:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: see ./dev bench --list")
    if args.runs is not None and args.runs < 1:
        parser.error("--runs: at least 1")
    return args


def _as_installed() -> None:
    """Programs run as they do where they are installed, with their bytecode cached: without, each
    start compiles all of PICCOLO anew, 40 ms on a fast machine.
    """
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    compileall.compile_dir(ROOT / "piccolo", quiet=2)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
