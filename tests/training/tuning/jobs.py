"""What the workers of these tests do instead of training. Pickled by name, so they stand in a module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from safelight.errors import TrainingDiverged
from training.tuning.worker import Report, Task


def parabola(task: Task, report: Report) -> float:
    """The best is x = 3."""
    value = -((task.parameters["x"] - 3.0) ** 2)
    for step in (1, 2):
        report(step, value)
    return value


def diverging(task: Task, report: Report) -> float:
    """Loses its numbers where x is positive."""
    if task.parameters["x"] > 0:
        raise TrainingDiverged("Expected a finite loss, got nan at step 3.")
    return parabola(task, report)


def not_a_number(task: Task, report: Report) -> float:
    """Ends well, with nothing to show."""
    return float("nan")


def broken(task: Task, report: Report) -> float:
    """A bug, or too little memory."""
    raise RuntimeError("a detail that is nobody's business")


def killed_once(task: Task, report: Report, marker: Path) -> float:
    """The first to come is killed."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return parabola(task, report)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def killed_always(task: Task, report: Report) -> float:
    """Whoever does this is killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def first_alone(task: Task, report: Report, gate: Path) -> float:
    """All but the first wait for the gate."""
    while task.number and not gate.exists():
        time.sleep(0.02)
    return parabola(task, report)


def descending(task: Task, report: Report) -> float:
    """Each trial is worse than the one before, from the first step."""
    for step in (1, 2, 3):
        report(step, -float(task.number))
    return -float(task.number)
