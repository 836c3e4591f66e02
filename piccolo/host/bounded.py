"""Many questions at once, each of which may hang, and an end for all of them.

Threads that are not done by the end are left behind: a system call on a dead network disk, or a
name server that is silent, cannot be interrupted. They are daemons, so the process ends all the
same.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any


def ask_all(questions: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """The answers by the questions' names; None for what did not answer in time, or raised
    `OSError` or (for what makes no sense) `ValueError`. All else is our mistake, and is raised.
    """
    end = time.monotonic() + seconds
    asked = {name: _begin(name, question) for name, question in questions.items()}
    answers: dict[str, Any] = {}
    for name, answer in asked.items():
        try:
            answers[name] = answer.result(max(0.0, end - time.monotonic()))
        except (OSError, ValueError):  # also the time-out
            answers[name] = None
    return answers


def _begin(name: str, question: Callable[[], Any]) -> Future[Any]:
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return answer


def run_program(*command: str, seconds: float) -> tuple[int, str] | None:
    """Its exit code and what it said, in English; None: it cannot be run, or took too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode, done.stdout.decode(errors="replace")


def text(path: Path) -> str:
    """Of a small file of the kernel; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
