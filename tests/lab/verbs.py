"""What can be done to a running lab from the shell: the verbs of `./dev lab`, and what they print.

They are parsed twice by the same parser: where they are typed, for help and mistakes, and in the
lab itself, which carries them out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.lab.errors import LabError
from tests.lab.guide import guide

if TYPE_CHECKING:
    from tests.lab.cluster import Lab

Verb = Callable[["Lab", argparse.Namespace], str]


def add_lab(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--lab", metavar="ID", default=default, help="to which lab a verb goes, when several run"
    )


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds all verbs that need a running lab. Each sets `perform`."""

    def add(name: str, about: str, perform: Verb, *, host: bool = True) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        add_lab(verb, default=argparse.SUPPRESS)  # it may stand before the verb too
        verb.set_defaults(perform=perform)
        if host:
            verb.add_argument("host", metavar="HOST", help="master, node1, node2, …")
        return verb

    add("status", "what is broken now", _status, host=False)
    add("guide", "how to look around in the lab", lambda lab, _: guide(lab, verbs=True), host=False)
    heal = add(
        "heal", "put right what is broken: all, of a HOST, or one PART of it", _heal, host=False
    )
    heal.add_argument("host", metavar="HOST", nargs="?", default="")
    heal.add_argument("part", metavar="PART", nargs="?", default="", help="as status shows it")

    cut = add("cut", "pull the cable: silently, both ways or one way", _cut)
    way = cut.add_mutually_exclusive_group()
    way.add_argument("--in", dest="direction", action="store_const", const="in", default="both",
                     help="nothing reaches the host")  # fmt: skip
    way.add_argument("--out", dest="direction", action="store_const", const="out",
                     help="nothing leaves it")  # fmt: skip
    loss = add("loss", "lose a share of the packets, in each direction", _loss)
    loss.add_argument("percent", metavar="PERCENT", type=float)
    add("reset", "break off all TCP connections by a reset", _reset)

    for name, about in (
        ("kill", "kill -9"),
        ("stop", "end in order (SIGTERM)"),
        ("freeze", "let stand still (SIGSTOP)"),
        ("restart", "stop, and start again"),
    ):
        verb = add(name, f"{about}: agent or podman of a node, master or etcd", _program)
        verb.add_argument("program", metavar="PROGRAM", nargs="?", default="",
                          help="default: agent, or master")  # fmt: skip

    fill = add("fill", "fill the disk of the data directory", _fill)
    fill.add_argument("--leave", metavar="BYTES", type=int, default=0)
    slow = add("slow", "make the disk slow", _slow)
    slow.add_argument("--writes", metavar="N", type=int, default=4, help="a second; default: 4")
    add("fail", "let the disk have an error: it is read-only from then on", _fail)
    corrupt = add("corrupt", "invert some bytes of a file in the data directory", _corrupt)
    corrupt.add_argument("file", metavar="FILE", help="such as identity.json")
    corrupt.add_argument("--at", metavar="BYTE", type=int, help="default: in the middle")
    corrupt.add_argument("--size", metavar="BYTES", type=int, default=16, help="default: 16")
    truncate = add("truncate", "cut off a file in the data directory", _truncate)
    truncate.add_argument("file", metavar="FILE")
    truncate.add_argument("--to", metavar="BYTES", type=int, help="default: half of it")

    clock = add("clock", "set the clock: +1h, or -- -5m, or '@2030-01-01 00:00:00'", _clock)
    clock.add_argument("to", metavar="TIME")
    add("replace", "another machine in a host's place: same name, empty disk", _replace)
    add("clone", "run a copy of a node's disk in a second machine", _clone)


def perform(lab: Lab, argv: Sequence[str]) -> str:
    """Carry out what was typed. Returns what to print. Raises `LabError`."""
    parser = argparse.ArgumentParser(prog="./dev lab", exit_on_error=False)
    add_lab(parser)
    add_to(parser.add_subparsers(dest="verb", required=True))
    try:
        arguments = parser.parse_args(argv)
    except (argparse.ArgumentError, SystemExit) as error:
        raise LabError(f"{' '.join(argv)} is not understood: see ./dev lab --help") from error
    verb: Verb = arguments.perform
    return verb(lab, arguments)


# ---- the verbs ----


def _status(lab: Lab, _: argparse.Namespace) -> str:
    return "\n".join(map(str, lab.faults.active)) or "nothing is broken"


def _heal(lab: Lab, given: argparse.Namespace) -> str:
    healed = lab.faults.heal(given.host, given.part)
    return "\n".join(f"{f.host}: {f.part} is right again" for f in healed) or "nothing was broken"


def _cut(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.cut(given.host, given.direction))


def _loss(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.loss(given.host, given.percent))


def _reset(lab: Lab, given: argparse.Namespace) -> str:
    return f"{given.host}: {lab.faults.reset(given.host)} connections were reset"


def _program(lab: Lab, given: argparse.Namespace) -> str:
    if given.verb == "restart":
        lab.faults.restart(given.host, given.program)
        return f"{given.host}: {given.program or 'it'} runs again"
    breaks = {"kill": lab.faults.kill, "stop": lab.faults.stop, "freeze": lab.faults.freeze}
    return str(breaks[given.verb](given.host, given.program))


def _fill(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.fill(given.host, given.leave))


def _slow(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.slow(given.host, given.writes))


def _fail(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.fail(given.host))


def _corrupt(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.corrupt(given.host, given.file, given.at, given.size))


def _truncate(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.truncate(given.host, given.file, given.to))


def _clock(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.clock(given.host, given.to))


def _replace(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.replace(given.host))


def _clone(lab: Lab, given: argparse.Namespace) -> str:
    return str(lab.faults.clone(given.host))
