"""`./dev bench`: measures, and prints one table.

A whole run takes most of an hour, so it can be made in parts: each benchmark's newest result is
kept, and `--write` makes docs/benchmarks.md of them. `--peers` measures PICCOLO beside other
programs, and `--check` compares what no machine changes with what it was: see `benchmarks.gate`.

But for `--check` it judges nothing: a missed target is a word in the table, and the exit code is 1
only when something could not be measured at all. It leaves nothing running, however it ends.
"""

from __future__ import annotations

import argparse
import compileall
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks import imports, machine, report
from benchmarks.catalogue import ALL, BENCHMARKS, PEERS
from benchmarks.figures import QUICK, Comparison, Figure, Plan, Result
from benchmarks.ground import ROOT, lacking
from tests.lab.errors import LabError

FAILED = "it failed"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
KEPT = ROOT / ".cache" / "benchmarks"


def main() -> int:
    args = _arguments()
    if args.list:
        for name, benchmark in ALL.items():
            print(f"{name:16} {' '.join(benchmark.method.split()).partition('. ')[0]}")
        print(f"{'imports':16} {(imports.__doc__ or '').splitlines()[0]}")
        return 0
    _as_installed()
    if args.check:
        from benchmarks.gate.check import check

        return check(accept=args.accept)
    if "imports" in args.names:
        imports.show()
        if args.names == ["imports"]:
            return 0
    plan = QUICK if args.quick else Plan()
    if args.runs:
        plan = replace(plan, runs=args.runs)
    results = [_kept(name, plan) for name in _chosen(args)]
    if results:
        for name, value in results[-1].machine.items():
            print(f"{name}: {value}")
        print(f"\n{report.extent(plan)}\n\n{report.terminal(results)}\n")
    if args.write or not args.names:
        kept = [Result.kept(KEPT, name) for name in ALL]
        DOCUMENT.write_text(report.document([r for r in kept if r is not None], _methods()))
        print(f"written: {DOCUMENT.relative_to(ROOT)}")
    failed = any(f.unless.startswith(FAILED) for r in results for f in r.figures)
    return 1 if failed else 0


def _chosen(args: argparse.Namespace) -> Sequence[str]:
    """What is to be measured."""
    names = [name for name in args.names if name != "imports"]
    if args.peers:
        names += [name for name in PEERS if name not in names]
    return names or ([] if args.write else list(BENCHMARKS))


def _methods() -> dict[str, str]:
    return {name: benchmark.method for name, benchmark in ALL.items()}


def _kept(name: str, plan: Plan) -> Result:
    """Measure it, and keep what it gave for the document."""
    described = machine.describe()
    if name in PEERS:
        described["peers"] = machine.peers()
    figures = []
    for figure in _measured(name, plan):
        figures.append(figure)
        _say(f"    {'  '.join(figure.cells())}")
    result = Result(name, plan, described, figures)
    result.keep(KEPT)
    return result


def _measured(name: str, plan: Plan) -> Iterator[Figure | Comparison]:
    """What a benchmark gives; when it gives nothing (more), a figure without values says why."""
    benchmark = ALL[name]
    if missing := lacking(benchmark.needs):
        yield _nothing(name, f"this machine lacks {', '.join(missing)}")
        return
    _say(f"{name} …")
    begun = time.monotonic()
    try:
        yield from benchmark.measure(plan)
    except (LabError, OSError) as error:
        _say(f"    {error}")
        yield _nothing(name, f"{FAILED}: {str(error).splitlines()[0]}")
    _say(f"    took {time.monotonic() - begun:.0f} s; load average {os.getloadavg()[0]:.2f}")


def _nothing(name: str, why: str) -> Figure | Comparison:
    return Comparison(name, "all", unless=why) if name in PEERS else Figure(name, unless=why)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure PICCOLO.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="see --list; default: all but the peers"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="default 10, with --quick 3")
    parser.add_argument("--quick", action="store_true", help="few runs, steady states of 60 s")
    parser.add_argument("--list", action="store_true", help="say what there is to measure")
    parser.add_argument(
        "--write", action="store_true", help=f"write {DOCUMENT.name} of what is kept"
    )
    parser.add_argument(
        "--peers", action="store_true", help="PICCOLO beside Serf, Docker Swarm and bare Podman"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare counts with benchmarks/baseline.json"
    )
    parser.add_argument(
        "--accept", action="store_true", help="with --check: what is counted is the new baseline"
    )
    args = parser.parse_args()
    if unknown := set(args.names) - {*ALL, "imports"}:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: see ./dev bench --list")
    if args.runs is not None and args.runs < 1:
        parser.error("--runs: at least 1")
    if args.accept and not args.check:
        parser.error("--accept goes with --check")
    if args.check and (args.names or args.peers or args.write):
        parser.error("--check counts all it knows: give no names, and neither --peers nor --write")
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
