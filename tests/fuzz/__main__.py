"""Feed every decoder with random input for a while: `./dev fuzz [--minutes N] [TARGET…]`.

What an input may end in: a value, or one of our own errors. A finding is anything else: another
exception, an answer that takes too long, or memory beyond a limit. It is printed with its smallest
example and the seed that leads there again; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import difflib
import faulthandler
import logging
import resource
import secrets
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from tests.fuzz.target import Target, targets

EXAMPLES = 300  # of one target, in one round
MEMORY = 3 << 30  # bytes of address space; most of it is never touched
LONGEST = 4000  # characters of a finding
HANGS = 900.0  # s after which a target's round is given up: something in C does not end


def main() -> int:
    arguments = _parser().parse_args()
    known = targets()
    if arguments.list:
        for found in known.values():
            print(f"{found.name:32} {found.about}")
        return 0
    chosen = _chosen(arguments.targets, known)
    logging.disable()
    faulthandler.enable()  # a decoder in C may end the process: then say where
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if arguments.seed is not None:
        return 1 if _round(chosen, arguments.seed) else 0
    return _for_a_while(chosen, arguments.minutes * 60)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all of them")
    parser.add_argument("--minutes", type=float, default=5.0, metavar="N", help="default: 5")
    parser.add_argument("--seed", type=int, metavar="S", help="one round, as it was with this seed")
    parser.add_argument("--list", action="store_true", help="name the targets, and do nothing")
    return parser


def _chosen(names: list[str], known: Mapping[str, Target]) -> list[Target]:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            sys.exit(f"error: there is no target {name}{hint} (./dev fuzz --list names them)")
    return [known[name] for name in names] or list(known.values())


def _for_a_while(chosen: list[Target], seconds: float) -> int:
    """Rounds of all that has no finding yet, until the time is over."""
    print(f"{len(chosen)} targets, {seconds / 60:g} minutes; Ctrl-C ends it", flush=True)
    until, rounds, findings = time.monotonic() + seconds, 0, 0
    left = list(chosen)
    try:
        while left and (time.monotonic() < until or rounds == 0):
            failed = _round(left, secrets.randbits(32), until if rounds else None)
            left = [target for target in left if target not in failed]
            findings += len(failed)
            rounds += 1
    except KeyboardInterrupt:
        pass
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{rounds} rounds of {EXAMPLES} examples of each target, {findings} findings,"
        f" at most {used} MiB of memory"
    )
    return 1 if findings else 0


def _round(chosen: list[Target], seed: int, until: float | None = None) -> list[Target]:
    """The targets with a finding."""
    failed = []
    for target in chosen:
        if until is not None and time.monotonic() > until:
            break
        _remember(f"{target.name} --seed {seed}")
        faulthandler.dump_traceback_later(HANGS, exit=True)
        try:
            target.run(EXAMPLES, seed)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it is, it is a finding
            failed.append(target)
            text = "".join(traceback.format_exception(error))
            if len(text) > LONGEST:
                text = f"{text[: LONGEST // 2]}\n[…]\n{text[-LONGEST // 2 :]}"
            print(f"\n{text}\nFINDING in {target.name}; to see it again:", file=sys.stderr)
            print(f"  ./dev fuzz {target.name} --seed {seed}\n", file=sys.stderr, flush=True)
    faulthandler.cancel_dump_traceback_later()
    _remember("")
    return failed


def _remember(what: str) -> None:
    """On the disk: for when a decoder takes the whole process down."""
    path = Path(__file__).resolve().parents[2] / ".cache" / "fuzz.last"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"./dev fuzz {what}\n" if what else "")


if __name__ == "__main__":
    sys.exit(main())
