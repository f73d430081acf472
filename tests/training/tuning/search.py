"""A whole search without a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial

from training.tuning.crew import Crew, Plan
from training.tuning.runs import StudyRuns
from training.tuning.space import FloatRange, Space
from training.tuning.study import make_pruner, open_storage, open_study
from training.tuning.worker import Job

SPACE: Space = {"x": FloatRange(-10.0, 10.0)}


class NoRuns:
    """Where MLflow has nothing to do with it: its database takes seconds to make."""

    def begin(self, trial: FrozenTrial) -> str:
        return "none"

    def end(self, run_id: str, trial: FrozenTrial, killed: bool) -> None:
        pass

    def settle(self, trials: list[FrozenTrial]) -> None:
        pass


def tracking(folder: Path) -> str:
    """MLflow's database."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def search(
    folder: Path,
    job: Job,
    target: int,
    workers: int = 1,
    *,
    space: Space = SPACE,
    seed: int = 0,
    pruner: str = "none",
    grace_s: int = 2,
    tracked: bool = True,
    address: str | None = None,
    told: Callable[[FrozenTrial], None] = lambda _: None,
) -> Study:
    """Run or go on with the study in a folder."""
    storage = open_storage(address or f"sqlite:///{folder / 'study.db'}", heartbeat_s=1, grace_s=grace_s)
    study = open_study(storage, "toy", {"space": "x"}, make_pruner(pruner, 2, 0, 3), maximise=True)
    runs = StudyRuns(tracking(folder), "tests", "toy", {}, "value", str(folder / "artifacts")) if tracked else None
    plan = Plan(
        target=target,
        workers=workers,
        threads=1,
        seed=seed,
        startup_trials=4,
        folder=folder,
        max_failures=3,
        heartbeat_s=1,
        grace_s=grace_s,
        preload=("tests.training.tuning.search",),
    )
    status = "FAILED"
    try:
        Crew(storage, study, space, job, runs or NoRuns(), plan, told).run()
        status = "FINISHED"
    finally:
        if runs is not None:
            runs.close(status, None, [])
    return study
