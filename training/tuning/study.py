"""A study that outlives its processes: trials in a database, each with a place among the trials that were asked for.

Knows nothing of what a trial does. Optuna (Akiba et al., "Optuna", 2019) keeps the trials, draws parameters (TPE: Bergstra
et al., "Algorithms for Hyper-Parameter Optimization", 2011) and decides on pruning. A trial whose process was killed fails
once its heartbeat has stopped, and another trial takes its place with the same parameters, once.
"""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from safelight.errors import ConfigError
from training.tuning.space import Space

REASON = "reason"
"""Why a trial failed by itself. A failed trial without it was killed."""

SURPLUS = "surplus"
"""On a trial that was one too many, because several processes asked at the same time."""

RUN_ID = "run_id"
"""MLflow's run of a trial. Set when the trial's first heartbeat is recorded."""

_SETUP = "setup"
_HISTORY = "retry_history"
_RETRIES = 1
_BUSY_S = 60.0


def open_storage(url: str, heartbeat_s: int, grace_s: int) -> RDBStorage:
    """The database of studies: SQLite, made when it is not there, or any other that SQLAlchemy reaches.

    heartbeat_s: how often a running trial says that it is alive. grace_s: how long it may be silent. Raises ConfigError;
    its message does not repeat the address, which may hold a password.
    """
    if not 0 < heartbeat_s < grace_s:
        raise ConfigError(f"Expected 0 < tune.heartbeat_s < tune.grace_s, got {heartbeat_s} and {grace_s}.")
    arguments: dict[str, Any] = {"connect_args": {"timeout": _BUSY_S}} if url.startswith("sqlite:///") else {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _experiments():
        try:
            if arguments:
                Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            return RDBStorage(url, arguments, heartbeat_interval=heartbeat_s, grace_period=grace_s)
        except (SQLAlchemyError, ImportError, OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"The database in tune.storage cannot be opened ({type(error).__name__}). "
                "Expected an address like sqlite:///FILE or postgresql://USER@HOST/NAME."
            ) from None


def open_study(
    storage: RDBStorage, name: str, setup: Mapping[str, Any], pruner: BasePruner, *, maximise: bool
) -> Study:
    """The study of this name, begun or taken up again.

    setup: whatever makes values of trials comparable. Raises ConfigError when the study was begun with another.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize" if maximise else "minimize",
        pruner=pruner,
        load_if_exists=True,
    )
    now = json.dumps(setup, sort_keys=True)
    begun = study.user_attrs.get(_SETUP)
    if begun is None:
        study.set_user_attr(_SETUP, now)
    elif begun != now:
        then = json.loads(begun)
        changed = sorted(key for key in {*then, *setup} if then.get(key) != json.loads(now).get(key))
        raise ConfigError(
            f"Study {name} was begun with another {', '.join(changed)}: its values would not compare. "
            "Name a new one with tune.study=..., or go back to what it was."
        )
    return study


def make_pruner(kind: str, startup_trials: int, warmup_steps: int, steps: int) -> BasePruner:
    """median: stops what is worse than half of the trials were at that step, after `startup_trials` trials and
    `warmup_steps` steps. hyperband: successive halving up to `steps` (Li et al., "Hyperband", 2018). none."""
    match kind:
        case "median":
            return MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=warmup_steps)
        case "hyperband":
            return HyperbandPruner(min_resource=max(1, warmup_steps), max_resource=max(1, warmup_steps, steps))
        case "none":
            return NopPruner()
    raise ConfigError(f"Expected tune.pruner.kind median, hyperband or none, got {kind!r}.")


def replaced_by(trial: FrozenTrial) -> list[int]:
    """The killed trials, first to last, whose place this one takes. Written down as Optuna's own retries are."""
    history: list[int] = trial.system_attrs.get(_HISTORY, [])
    return history


def holding(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that take a place: all but surplus ones, and killed ones whose place another trial has taken."""
    replaced = {number for trial in trials for number in replaced_by(trial)}
    return [trial for trial in trials if trial.number not in replaced and SURPLUS not in trial.user_attrs]


def begun(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that take a place and are running or over."""
    return [trial for trial in holding(trials) if trial.state != TrialState.WAITING]


def ask(storage: RDBStorage, study: Study, target: int, space: Space, seed: int, startup_trials: int) -> Trial | None:
    """The next trial with its parameters, as long as fewer than `target` have begun; trials that take a killed one's
    place come first. What is drawn depends on the seed, the trial's number and the trials before, so that a study taken
    up again does not draw the same twice. None when there is no place left."""
    with _experiments():
        if len(begun(study.get_trials(deepcopy=False))) >= target:
            return None
        trial = study.ask()
        beat(storage, study, trial.number)
        earlier = [other for other in begun(study.get_trials(deepcopy=False)) if other.number < trial.number]
        if len(earlier) >= target:
            trial.set_user_attr(SURPLUS, True)
            study.tell(trial, state=TrialState.FAIL)
            return None
        study.sampler = TPESampler(seed=seed * 1_000_003 + trial.number, n_startup_trials=startup_trials)
        for name, parameter in space.items():
            parameter.draw(trial, name)
        return trial


def beat(storage: RDBStorage, study: Study, number: int) -> None:
    """Say that a running trial is alive."""
    study_id = storage.get_study_id_from_name(study.study_name)
    storage.record_heartbeat(storage.get_trial_id_from_study_id_trial_number(study_id, number))


def mend(study: Study, grace_s: int) -> None:
    """Fail trials that nobody runs any more, and have each killed one's place taken, once. Safe to repeat."""
    with _experiments():
        fail_stale_trials(study)
    silent = datetime.datetime.now() - datetime.timedelta(seconds=grace_s)  # Optuna's times are local
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # Killed between its creation and its first heartbeat: the heartbeats alone would never tell.
        if RUN_ID not in trial.user_attrs and trial.datetime_start is not None and trial.datetime_start < silent:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    for trial in holding(study.get_trials(deepcopy=False)):
        before = replaced_by(trial)
        if trial.state == TrialState.FAIL and REASON not in trial.user_attrs and len(before) < _RETRIES:
            study.add_trial(_again(trial, before))


def _again(trial: FrozenTrial, before: Sequence[int]) -> FrozenTrial:
    """A waiting trial with the same parameters, marked as Optuna marks retries. One killed before it had any gets new
    ones."""
    history = [*before, trial.number]
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs={"failed_trial": history[0], _HISTORY: history},
    )


@contextmanager
def _experiments() -> Iterator[None]:
    """Heartbeats are marked experimental, and Optuna expects them from its own loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage")
        yield
