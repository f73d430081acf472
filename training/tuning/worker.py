"""A trial in a process of its own, which speaks to the study over a pipe.

Knows nothing of databases: only the process that holds the study writes to it. A worker ends when that process does.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

import torch

from safelight.errors import SafelightError

LOG = "log.txt"


@dataclass(frozen=True)
class Task:
    """What a worker is to do. number: of the trial. parameters: by name. folder: the trial's own. run_id: MLflow's run.
    threads: of torch."""

    number: int
    parameters: dict[str, Any]
    folder: Path
    run_id: str
    threads: int


Report = Callable[[int, float], None]
"""(step, value) of a trial under way. Raises TrialPruned when the trial is not worth going on."""

Job = Callable[[Task, Report], float]
"""Does a task and returns the trial's value. It is pickled: a function of a module, or a partial of one."""


@dataclass(frozen=True)
class Reported:
    """A value under way; the worker waits for `True`: go on, or `False`."""

    step: int
    value: float


@dataclass(frozen=True)
class Ended:
    """The last thing a worker says. reason: of a failure, without paths or data."""

    state: Literal["complete", "pruned", "failed"]
    value: float | None = None
    reason: str | None = None


class TrialPruned(Exception):
    """The study gave this trial up."""


def work(pipe: Connection, job: Job, task: Task) -> None:
    """Do one task; its output goes into a file of its folder. Whatever goes wrong is said, never raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everyone; the study's process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_to(task.folder / LOG)
    torch.set_num_threads(task.threads)
    pipe.send(_outcome(pipe, job, task))
    sys.stdout.flush()


def _outcome(pipe: Connection, job: Job, task: Task) -> Ended:
    def report(step: int, value: float) -> None:
        pipe.send(Reported(step, value))
        if not pipe.recv():
            raise TrialPruned

    try:
        value = job(task, report)
    except TrialPruned:
        return Ended("pruned")
    except SafelightError as error:
        traceback.print_exc()
        return Ended("failed", reason=f"{error.title}: {error.detail.partition('. ')[0]}")
    except Exception as error:  # of any library: the study goes on without this trial
        traceback.print_exc()
        return Ended("failed", reason=type(error).__name__)
    if not math.isfinite(value):
        return Ended("failed", reason=f"the value is {value}")
    return Ended("complete", value)


def _end_with_parent() -> None:
    """Nobody would hear what a worker without a study finds out."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _write_to(path: Path) -> None:
    """Send what this process prints, and what its libraries print, into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
