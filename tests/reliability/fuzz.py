"""Input that nobody should send, for every decoder: the long run of `tests.fuzz`."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.ground import ROOT
from tests.fuzz.__main__ import EXAMPLES
from tests.fuzz.target import targets
from tests.reliability.outcome import Effort, Row

TOGETHER = 8  # targets of one process: small enough to end in time, large enough to be worth it
LONGEST = 300.0  # s for one process
_FINDING = re.compile(r"FINDING in (\S+);")


def run(effort: Effort) -> Iterator[Row]:
    """Ten minutes. Each decoder that faces the network or a file gets valid input with pieces
    changed, doubled or cut off, values of wrong types, and noise. It must end in a value or in one
    of our own errors, within a second and in bounded memory. Which inputs, follows from the seed;
    how many of them are tried, from the time. `./dev fuzz` tells what a finding is.
    """
    chance = random.Random(effort.seed)
    until = time.monotonic() + effort.seconds(600.0, 20.0)
    names, queue, tried, findings = list(targets()), list[str](), list[str](), list[str]()
    while not tried or time.monotonic() < until:
        if not queue:
            queue = chance.sample(names, len(names))
        chosen, queue = queue[:TOGETHER], queue[TOGETHER:]
        findings += _findings(chosen, chance.randrange(1 << 31))
        tried += chosen
    what = f"{len(set(tried))} of {len(names)} decoders, {len(tried) * EXAMPLES:,} inputs"
    seen = "; ".join(sorted(findings)) or "none"
    yield Row(what, "no findings", seen, bool(findings))


def _findings(chosen: list[str], seed: int) -> list[str]:
    """How to see each of them again."""
    argv = [sys.executable, "-m", "tests.fuzz", *chosen, "--seed", str(seed)]
    try:
        done = subprocess.run(
            argv, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return [f"no end: `./dev fuzz {' '.join(chosen)} --seed {seed}`"]
    found = _FINDING.findall(done.stderr)
    if done.returncode and not found:  # it took the whole process down
        return [f"exit code {done.returncode}: `./dev fuzz {' '.join(chosen)} --seed {seed}`"]
    return [f"`./dev fuzz {name} --seed {seed}`" for name in found]
