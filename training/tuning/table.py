"""The trials of a study as a table in a CSV file, and in a few words. Knows nothing of what was trained."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from training.tuning.study import REASON, RUN_ID, SURPLUS, replaced_by


def state_of(trial: FrozenTrial) -> str:
    """complete, pruned, failed, killed, surplus, running or waiting."""
    if SURPLUS in trial.user_attrs:
        return "surplus"
    if trial.state == TrialState.FAIL:
        return "failed" if REASON in trial.user_attrs else "killed"
    return trial.state.name.lower()


def write_trials(trials: Sequence[FrozenTrial], parameters: Sequence[str], path: Path) -> None:
    """A row a trial: number, state, value, last step it reported, seconds, what failed, whose place it took, MLflow's
    run, and its parameters. Written whole or not at all."""
    columns = ["trial", "state", "value", "last_step", "seconds", "reason", "retry_of", "run_id", *parameters]
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for trial in trials:
            history = replaced_by(trial)
            duration = trial.duration
            row = {
                "trial": trial.number,
                "state": state_of(trial),
                "value": trial.value if trial.state == TrialState.COMPLETE else None,
                "last_step": trial.last_step,
                "seconds": round(duration.total_seconds(), 1) if duration is not None else None,
                "reason": trial.user_attrs.get(REASON),
                "retry_of": history[-1] if history else None,
                "run_id": trial.user_attrs.get(RUN_ID),
            }
            writer.writerow(row | {name: trial.params.get(name) for name in parameters})
    scratch.replace(path)


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the greatest value, the earliest of equals; None when none is complete."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number)) if complete else None
