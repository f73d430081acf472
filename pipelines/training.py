"""What the train stages share: who tells and writes, the run in MLflow, callbacks that look into a training.

Knows nothing of what is learnt.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig

from pipelines.stage import git_commit
from training.fitting.debugging import LearnsByHeart, Profiled
from training.fitting.fitting import Fitted
from training.fitting.resuming import Start
from training.registry.runlog import RunLog
from training.registry.tracking import close_run, open_run

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Where Lightning, torchrun and SLURM tell a process which of several it is."""


def first_process() -> bool:
    """Whether this is the only process, or the first of several that train together: it tells and writes."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def opened(tracking: DictConfig, name: str, start: Start, tags: Mapping[str, str]) -> tuple[RunLog, str]:
    """The run in MLflow: the interrupted one again, or a new one with these tags and the commit's; a run that nobody goes on
    with is closed. tracking: conf/tracking."""
    if start.abandoned is not None and RunLog(tracking.uri, start.abandoned).reopen():
        close_run(tracking.uri, start.abandoned, failed=True)
    run_id = start.run_id
    if run_id is None or not RunLog(tracking.uri, run_id).reopen():
        whole = {"git_commit": git_commit(), **tags}
        run_id = open_run(tracking.uri, tracking.experiment, name, whole, tracking.artifacts)
    return RunLog(tracking.uri, run_id), run_id


def looking_into(asked: DictConfig) -> list[pl.Callback]:
    """What debug=overfit and debug=profile add."""
    by_heart = [LearnsByHeart(asked.overfit)] if asked.overfit is not None else []
    return [*by_heart, *([Profiled(Path(asked.profile))] if asked.profile is not None else [])]


def said(done: Fitted, monitor: str) -> str:
    """How a training went, in a line for a person."""
    looked = f"best {monitor} {done.score:.3f} at step {done.best_step} of {done.steps}"
    if not done.best_step:
        looked = f"{done.steps} steps without a validation"
    return f"{looked} ({done.seconds:.0f} s, of which {done.loader_wait:.1%} waiting for the loader)"
