"""Many schedules, on several processors at once.

Job j of N takes the seeds first + j, first + j + N, …, in a process of its own. The seed alone says
what a schedule is, so each can be seen again alone, however many jobs there were.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count, takewhile
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import FrameType
from typing import NoReturn

from tests.simulation.outcome import Outcome

Tell = Callable[[str], None]
Run = Callable[[int, int, Tell | None], Outcome]

# Processes begin as copies of this one: nothing is imported again, and sets keep their order.
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Survey:
    """What many schedules gave."""

    schedules: int = 0
    steps: int = 0  # what people and faults did
    longest: float = 0.0  # s of virtual time until all was as asked
    computed: float = 0.0  # s of one core

    def __add__(self, other: Survey) -> Survey:
        return Survey(
            self.schedules + other.schedules,
            self.steps + other.steps,
            max(self.longest, other.longest),
            self.computed + other.computed,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """`count` schedules, or, with 0, as many as are done before `until`."""

    run: Run
    first: int  # seed
    nodes: int = 0
    count: int = 0
    until: float = 0.0  # by `time.monotonic`
    tell: Tell | None = None  # of all that happens; in one process only


def survey(task: Task, jobs: int, failed: Callable[[Outcome], None]) -> Survey:
    """`failed` is told of each schedule that failed, at once. Ctrl-C ends it early."""
    jobs = min(jobs, task.count or jobs)
    if jobs == 1:
        return _take(task, _seeds(task, 0, 1), failed)
    return _apart(task, jobs, failed)


def _seeds(task: Task, job: int, jobs: int) -> Iterator[int]:
    if task.count:
        yield from range(task.first + job, task.first + task.count, jobs)
        return
    for seed in count(task.first + job, jobs):
        if time.monotonic() >= task.until:
            return
        yield seed


def _take(task: Task, seeds: Iterator[int], failed: Callable[[Outcome], None]) -> Survey:
    found, before = Survey(), time.process_time()
    with suppress(KeyboardInterrupt):
        for seed in seeds:
            outcome = task.run(seed, task.nodes, task.tell)
            found += Survey(1, outcome.steps, outcome.took)
            if outcome.broken:
                failed(outcome)
    return replace(found, computed=time.process_time() - before)


# ---- several processes ----


def _apart(task: Task, jobs: int, failed: Callable[[Outcome], None]) -> Survey:
    """Raises `OSError` when a process ends without a result."""
    ours = _Jobs()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # of theirs: who began them ends them
    try:
        for job in range(jobs):
            ours.begin(task, job, jobs)
        signal.signal(signal.SIGINT, ours.end)
        return sum(ours.results(failed), Survey())
    finally:
        ours.end()
        ours.join()
        signal.signal(signal.SIGINT, before)


class _Jobs:
    def __init__(self) -> None:
        self._processes: list[ForkProcess] = []
        self._pipes: list[Connection] = []
        self._ended = False

    def begin(self, task: Task, job: int, jobs: int) -> None:
        ours, theirs = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_job, args=(task, job, jobs, theirs, os.getpid()))
        process.start()
        theirs.close()  # so that its end is seen, however it ends
        self._processes.append(process)
        self._pipes.append(ours)

    def results(self, failed: Callable[[Outcome], None]) -> Iterator[Survey]:
        left = list(self._pipes)
        while left:
            for pipe in wait(left):
                assert isinstance(pipe, Connection)
                said = self._said(pipe)
                if isinstance(said, Outcome):
                    failed(said)
                else:
                    left.remove(pipe)
                    yield said

    def _said(self, pipe: Connection) -> Outcome | Survey:
        try:
            said: Outcome | Survey = pipe.recv()
        except EOFError:
            if self._ended:  # before it began
                return Survey()
            raise OSError(
                f"job {self._pipes.index(pipe)} of the simulation ended without a result; if the"
                " kernel killed it for want of memory, give fewer --jobs"
            ) from None
        return said

    def end(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._ended = True
        for process in self._processes:
            process.terminate()

    def join(self) -> None:
        for pipe in self._pipes:
            pipe.close()  # so that nobody waits for us to read
        for process in self._processes:
            process.join()


def _job(task: Task, job: int, jobs: int, pipe: Connection, parent: int) -> None:
    signal.signal(signal.SIGTERM, _interrupted)
    seeds = takewhile(lambda seed: os.getppid() == parent, _seeds(task, job, jobs))
    found = _take(task, seeds, pipe.send)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends anyway
    pipe.send(found)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise KeyboardInterrupt
