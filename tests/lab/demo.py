"""The tour: what PICCOLO does, shown on this machine in about half a minute.

    python -m tests.lab.demo [--keep]

With root each node is a network namespace with a Podman of its own, and a cable is really pulled.
Otherwise the nodes share this machine's network and Podman, and the tour says so. Ends with 0 when
every step went as it should, with 1 and the reason when one did not; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.lab import podman
from tests.lab.cluster import Lab, LoopbackLab
from tests.lab.errors import LabError
from tests.lab.guide import guide, wait_for_interrupt
from tests.lab.net import Network
from tests.lab.watch import Change, Watch

DOCUMENT = """\
apiVersion: piccolo.io/v1
kind: Workload
metadata: {name: greeter}
spec:
  image: localhost/hello:latest
  replicas: 3
  env: {GREETING: hello}
---
apiVersion: piccolo.io/v1
kind: Workload
metadata: {name: listener}
spec:
  image: localhost/hello:latest
  placement: {nodes: [node1]}
  dependsOn: [{workload: greeter}]
"""
BOUND = 5.0  # s in which a silent node must be seen as NotReady (README, "Numbers")
SETTLING = 2.0  # s in which a node that came back might waver
PATIENCE = 20.0  # s to wait for anything at all
VICTIM = "node3"


class Tour:
    """Says what it does, does it, and shows what really comes out."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.number = 0
        self.summary: list[str] = []

    def run(self) -> None:
        self.start_master()
        self.join()
        if self.lab.podman:
            self.deploy()
        self.look_around()
        if self.lab.podman:
            self.change_and_roll_back()
            self.kill_a_container()
        with self.lab.watch_nodes() as watch:
            self.lose_a_node(watch)
            self.kill_the_master(watch)

    def start_master(self) -> None:
        self.step("Start the master. Its store is embedded: there is nothing else to install.")
        begun = time.monotonic()
        master = self.lab.start_master()
        self.command(master.popen.args, self.lab.master.prefix())
        self.print(hidden(master.output()))
        self.result(f"The master serves after {time.monotonic() - begun:.1f} s.")

    def join(self) -> None:
        self.step("Three machines join, with a token. Each runs an agent; agents only dial out.")
        self.command(["piccolo", "token", "create", "--uses", str(len(self.lab.names))])
        made = self.lab.piccolo("token", "create", "--uses", str(len(self.lab.names)))
        self.print(hidden(made.stdout))
        self.lab.token = made.stdout.split("--token ")[1].split()[0]
        begun = time.monotonic()
        self.lab.start_agents(timeout=PATIENCE)
        took = time.monotonic() - begun
        for name, agent in self.lab.agents.items():
            self.command(agent.popen.args, self.lab.nodes[name].prefix())
        self.say(
            "The token is in $PICCOLO_TOKEN, where `ps` does not show it. Each agent made a key,"
        )
        self.say("and got a certificate for it: from here on all is mutual TLS 1.3.\n")
        self.result(f"All three are Ready after {took:.1f} s, each with a certificate of its own.")

    def deploy(self) -> None:
        self.step("Say what is to run; the cluster sees to it. The command waits until it is so.")
        self.write(DOCUMENT)
        begun = time.monotonic()
        self.show("apply", "-f", str(self.document))
        took = time.monotonic() - begun
        self.show("get", "workloads")
        self.result(f"Four containers on three nodes run {took:.1f} s after the command began.")

    def change_and_roll_back(self) -> None:
        self.step("Change a line, see the difference, apply it; then take it back.")
        self.write(DOCUMENT.replace("GREETING: hello", "GREETING: goodbye"))
        self.show("diff", "-f", str(self.document), fine=(0, 1))
        self.show("apply", "-f", str(self.document))
        self.show("history", "workload", "greeter")
        self.show("rollback", "workload", "greeter")
        self.result("Every generation is kept; `listener` was not touched.")

    def kill_a_container(self) -> None:
        self.step("Kill a container on its node, behind PICCOLO's back.")
        before = self.running()
        podman = self.lab.podman["node1"]
        (victim,) = (name for node, name in before if node == "node1" and "listener" in name)
        self.say(bold(f"$ podman kill {victim}"))
        with self.lab.watch("get", "workloads", "-w", "-o", "json") as watch:
            watch.wait_synced()
            begun = time.monotonic()
            podman.kill(victim)
            watch.wait_for(lambda c: self.is_running(c, False), PATIENCE, begun)
            back = watch.wait_for(lambda c: self.is_running(c, True), PATIENCE, begun).at
        self.show("get", "events", "--limit", "3")
        self.result(f"It runs again {back - begun:.1f} s later.")

    @staticmethod
    def is_running(change: Change, running: bool) -> bool:
        return change.name == "listener" and (change.object["state"] == "Running") is running

    @property
    def document(self) -> Path:
        return self.lab.master.dir / "tour.yaml"

    def write(self, text: str) -> None:
        self.say(bold(f"$ cat {self.document}"))
        self.document.write_text(text)
        self.print(text)

    def look_around(self) -> None:
        self.step("Look at the cluster from the master's machine.")
        for name, value in self.lab.client_env().items():
            self.say(f"{name}={value}")
        self.wait("the nodes told no usage", lambda: all(n["usage"] for n in self.lab.get("nodes")))
        self.show("get", "nodes")
        self.show("get", "containers")
        self.show("top", "nodes")
        self.show("status")

    def lose_a_node(self, watch: Watch) -> None:
        if isinstance(self.lab.net, Network):
            lost, back = f"Pull the cable of {VICTIM}", "Put the cable back"
            self.step(f"{lost}: silently, nobody is told.")
        else:
            lost, back = f"Freeze the agent of {VICTIM}", "Thaw it"
            self.step(f"{lost}: this machine lends no cable to pull, and this is as silent.")
        begun = time.monotonic()
        self.set_silent(True)
        seen = watch.wait_status(VICTIM, "NotReady", PATIENCE, since=begun)
        took = self.explain(seen, begun)
        self.show("get", "nodes")
        self.show("get", "events", "--node", VICTIM, "--limit", "5")
        if took > BOUND:
            raise LabError(f"{VICTIM} was seen as lost after {took:.1f} s only, not {BOUND:g} s")
        self.result(f"{lost}: NotReady within {took:.1f} s (promised: {BOUND:g} s).")

        self.step(f"{back}.")
        begun = time.monotonic()
        self.set_silent(False)
        seen = watch.wait_status(VICTIM, "Ready", PATIENCE, since=begun)
        took = self.explain(seen, begun)
        self.show("get", "nodes")
        self.stays_well(watch, seen.at, SETTLING)
        self.result(f"{back}: Ready again within {took:.1f} s, and it stays so.")

    def kill_the_master(self, watch: Watch) -> None:
        self.step("Kill the master with kill -9, and start it again on what it had stored.")
        before = self.state()
        assert self.lab.master_proc is not None
        begun = time.monotonic()
        self.command(["kill", "-9", str(self.lab.master_proc.pid)])
        self.lab.master_proc.kill()
        self.lab.master_proc.wait()
        self.command(self.lab.start_master().popen.args, self.lab.master.prefix())
        self.wait(
            "the agents did not come back",
            lambda: all(n["link"] and n["link"]["connected"] for n in self.lab.get("nodes")),
        )
        took = time.monotonic() - begun
        self.say(f"All agents are back {took:.1f} s after the kill.")
        self.say(f"Watching {BOUND:g} s more for a false alarm ...")
        self.stays_well(watch, begun, BOUND)
        self.wait("the state is not as before", lambda: self.state() == before)
        self.show("status")
        self.result(f"Master killed: all is back after {took:.1f} s, without a false NotReady.")

    # ---- what the steps are made of ----

    def set_silent(self, silent: bool) -> None:
        if isinstance(self.lab.net, Network):
            (self.lab.net.cut if silent else self.lab.net.heal)(VICTIM)
        elif silent:
            self.lab.agents[VICTIM].freeze()
        else:
            self.lab.agents[VICTIM].thaw()

    def explain(self, change: Change, begun: float) -> float:
        """Say what a client that watches was told, and when; return the seconds it took."""
        took = change.at - begun
        why = f": {change.object['reason']}, {change.object['message']}"
        self.say(f"A client that watches is told after {took:.1f} s: {change.status}{why}")
        return took

    def stays_well(self, watch: Watch, since: float, seconds: float) -> None:
        """Watch for so long; raise `LabError` for any node not Ready since then."""
        time.sleep(seconds)
        for change in watch.since(since):
            if change.name and change.status != "Ready":
                why = f"{change.status} ({change.object['reason']})"
                raise LabError(f"a false alarm: {change.name} is well, but was shown as {why}")

    def running(self) -> set[tuple[str, str]]:
        found = self.lab.get("containers")
        return {(c["node"], c["name"]) for c in found if c["state"] == "running"}

    def state(self) -> dict[str, Any]:
        """What must survive: who the nodes are, since when in which state, and their containers."""
        kept = ("id", "name", "status", "since", "createdAt")
        nodes = [{key: node[key] for key in kept} for node in self.lab.get("nodes")]
        return {"nodes": nodes, "running": self.running()}

    def wait(self, failure: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise LabError(f"{failure} within {PATIENCE:g} s")
            time.sleep(0.2)

    def step(self, title: str) -> None:
        self.number += 1
        print(f"{bold(f'{self.number}. {title}')}\n", flush=True)

    def say(self, text: str) -> None:
        print(f"   {text}", flush=True)

    def result(self, text: str) -> None:
        self.summary.append(text)
        self.say(bold(f"=> {text}\n"))

    def command(self, argv: Any, prefix: list[str] | None = None) -> None:
        """Show a command as one would type it on that host, without what brought it there."""
        words = [str(word) for word in argv][len(prefix or []) :]
        if Path(words[0]) == self.lab.program:
            words[0] = "piccolo"
        self.say(bold(f"$ {shlex.join(words)}"))

    def show(self, *args: str, fine: Sequence[int] = (0,)) -> None:
        """Run a command and show what it prints. Raises `LabError` for any other exit code."""
        self.command(["piccolo", *args])
        done = self.lab.piccolo(*args, timeout=60.0, check=False)
        self.print(done.stdout)
        if done.returncode not in fine:
            raise LabError(f"piccolo {args[0]} ended with {done.returncode}: {done.stderr}")

    def print(self, output: str) -> None:
        print(textwrap.indent(output.rstrip(), "   "), end="\n\n", flush=True)


def hidden(text: str) -> str:
    """Without what is secret of a join token: what the demo prints may be shown to anybody."""
    return re.sub(r"(piccolo1\.\w+\.)\S+", r"\1…", text)


def bold(text: str) -> str:
    plain = os.environ.get("NO_COLOR") or not sys.stdout.isatty()
    return text if plain else f"\033[1m{text}\033[0m"


def set_up() -> Lab:
    """The fullest lab that this machine can hold; says what it lacks for more."""
    lacking, without_podman = Lab.missing(with_podman=False), podman.missing()
    if lacking:
        found = machines_podman()
        what = f"the Podman of this machine, {found}" if found else "no Podman"
        print(f"This machine lacks for nodes with networks of their own: {', '.join(lacking)}.")
        print(f"So all of them use its loopback addresses, and {what}.")
        return LoopbackLab(podman_socket=found)
    if without_podman:
        print(f"There will be no containers: this machine lacks {', '.join(without_podman)}.")
    print("Making four machines (network namespaces), three of them with a Podman of their own ...")
    return Lab(podman=not without_podman)


def machines_podman() -> Path | None:
    """The socket of the Podman that runs here already, if we may use it."""
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    for socket in (own / "podman/podman.sock", Path("/run/podman/podman.sock")):
        if os.access(socket, os.R_OK | os.W_OK):
            return socket
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description="A tour of PICCOLO.")
    parser.add_argument("--keep", action="store_true", help="keep the cluster until Ctrl-C")
    keep = parser.parse_args().keep
    begun = time.monotonic()
    try:
        with set_up() as lab:
            ready = time.monotonic()
            print(f"Set up in {ready - begun:.1f} s.\n", flush=True)
            tour = Tour(lab)
            try:
                tour.run()
            except LabError as error:
                print(f"\n{bold(f'Step {tour.number} failed:')} {error}", flush=True)
                return 1
            print(f"{bold('What you saw')} ({time.monotonic() - ready:.0f} s):")
            for line in tour.summary:
                print(f"   - {line}")
            if keep:
                print(f"\n{guide(lab)}\n\nCtrl-C removes the cluster.", flush=True)
                wait_for_interrupt()
            print("\nCleaning up ...", flush=True)
    except LabError as error:
        print(f"The demo could not be set up: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; all is removed.", flush=True)
        return 130
    print("Nothing is left of it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
