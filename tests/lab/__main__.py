"""By hand: `python -m tests.lab up` makes a cluster and keeps it until Ctrl-C."""

from __future__ import annotations

import argparse
import sys

from tests.lab import reaper
from tests.lab.cluster import Lab, LoopbackLab
from tests.lab.errors import LabError
from tests.lab.guide import guide, wait_for_interrupt


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="make a cluster and keep it until Ctrl-C")
    up.add_argument("--nodes", type=int, default=3, metavar="N")
    up.add_argument("--store", choices=("sqlite", "etcd"), default="sqlite")
    up.add_argument("--no-podman", action="store_true", help="nodes without containers")
    up.add_argument("--loopback", action="store_true", help="without root: no network of its own")
    up.add_argument("--bare", action="store_true", help="start no master and no agents")
    verbs.add_parser("sweep", help="remove what is left of labs whose owner is gone")
    arguments = parser.parse_args()
    if arguments.verb == "sweep":
        base = reaper.base_dir()
        with reaper.base_lock(base):
            print(f"removed: {', '.join(reaper.sweep(base)) or 'nothing was left'}")
        return
    with _make(arguments) as lab:
        if not arguments.bare:
            lab.start_master()
            lab.start_agents()
        for host in (lab.master, *lab.nodes.values()):
            print(f"{host.name:15} {host.ip}")
        print(f"\n{guide(lab)}\n\nCtrl-C removes it.", flush=True)
        wait_for_interrupt()


def _make(arguments: argparse.Namespace) -> Lab:
    if arguments.loopback:
        return LoopbackLab(arguments.nodes, store=arguments.store)
    return Lab(arguments.nodes, podman=not arguments.no_podman, store=arguments.store)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
