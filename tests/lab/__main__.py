"""A cluster on this machine, to be broken by hand.

  ./dev lab                     start one, and keep it until Ctrl-C; tells how to look around
  ./dev lab --nodes 5 --store etcd
  ./dev lab VERB …              in another terminal: do something to the one that runs

For example:

  ./dev lab cut node3           pull its cable; ./dev lab heal node3 puts it back
  ./dev lab cut master --in     what is sent to the master is lost, what it sends is not
  ./dev lab loss node1 20       lose every fifth packet
  ./dev lab freeze node2        its agent stands still; freeze node2 podman: its Podman does
  ./dev lab fill node2          its disk is full
  ./dev lab status              what is broken now
  ./dev lab heal                put everything right

It needs root, for network namespaces, mounts and loop devices. Everything is gone at the end,
however that comes. More: docs/lab.md, and ./dev lab VERB --help.
"""

from __future__ import annotations

import argparse
import sys

from tests.lab import control, reaper, verbs
from tests.lab.cluster import Lab, LoopbackLab
from tests.lab.errors import LabError
from tests.lab.guide import guide

DISK_MB = 64


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.verb is None:
        if arguments.lab is not None:
            raise LabError("--lab chooses a lab that runs: say what to do to it (./dev lab --help)")
        _up(arguments)
    elif arguments.verb == "list":
        found = control.running()
        for lab_id, path in found.items():
            print(f"{lab_id}  {control.about(path)}")
        if not found:
            print("no lab runs here")
    elif arguments.verb == "sweep":
        base = reaper.base_dir()
        with reaper.base_lock(base):
            print(f"removed: {', '.join(reaper.sweep(base)) or 'nothing was left'}")
    else:
        print(control.ask(control.find(arguments.lab), sys.argv[1:]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev lab",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--store", choices=("sqlite", "etcd"), default="sqlite")
    parser.add_argument("--disk", type=int, default=DISK_MB, metavar="MB",
                        help=f"of each data directory; 0: none; default: {DISK_MB}")  # fmt: skip
    parser.add_argument("--clocks", action="store_true", help="clocks can be set (faketime)")
    parser.add_argument("--no-podman", action="store_true", help="nodes without containers")
    parser.add_argument("--loopback", action="store_true",
                        help="without root: only programs can be broken")  # fmt: skip
    parser.add_argument("--bare", action="store_true", help="start no master and no agents")
    verbs.add_lab(parser)
    found = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    found.add_parser("list", help="the labs that run")
    found.add_parser("sweep", help="remove what is left of labs whose owner is gone")
    verbs.add_to(found)
    return parser


def _up(arguments: argparse.Namespace) -> None:
    with _make(arguments) as lab:
        if not arguments.bare:
            lab.start_master()
            lab.start_agents()
        for host in (lab.master, *lab.nodes.values()):
            print(f"{host.name:15} {host.ip}")
        print(f"\n{guide(lab, verbs=True)}", flush=True)
        print(f"\nLab {lab.site.id} runs; Ctrl-C removes it.", flush=True)
        control.serve(lab)


def _make(arguments: argparse.Namespace) -> Lab:
    if arguments.loopback:
        return LoopbackLab(arguments.nodes, store=arguments.store)
    return Lab(
        arguments.nodes,
        podman=not arguments.no_podman,
        store=arguments.store,
        disk_mb=arguments.disk,
        clocks=arguments.clocks,
    )


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
