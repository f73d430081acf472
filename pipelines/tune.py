"""tune: a search for settings that do better on validation data, in trials that may be killed and taken up again.

Writes outputs/tune/STUDY (a folder a trial, trials.csv, pictures) and the best settings as an experiment. The test data is
never read.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from pipelines import trial
from pipelines.models import read_json
from pipelines.prepare import prepare
from pipelines.stage import build, git_commit, plain, stage
from pipelines.train import DECIDING, NOT_DECIDING
from pipelines.tuned import Found, check_free, given, write_experiment
from safelight.errors import ConfigError
from training.detector.module import MONITOR
from training.tuning.crew import Crew, Plan
from training.tuning.plots import ENOUGH, draw_history, draw_importances, draw_slices, importances
from training.tuning.runs import StudyRuns
from training.tuning.space import Choice, Space, describe_space, parse_space
from training.tuning.study import REASON, begun, make_pruner, open_storage, open_study
from training.tuning.table import best_of, state_of, write_trials

COMPARED = (*DECIDING, "patience", "ema_decay", "warm_start")
"""Parts of the configuration that a study's trials share. Taken up again with another one, it is refused."""

_FIXED = ("paths", "out", "tracking", "tune", "name", "data", "fit", "about", "hydra", "debug", "experiment")
"""What cannot be searched over: values would not compare, or trials would write into each other's folders."""


@stage("tune")
def main(cfg: DictConfig) -> None:
    """Run the trials that are missing, then say, draw and write down what was found."""
    console = Console(soft_wrap=True, highlight=False)
    settings, folder = cfg.tune, Path(cfg.tune.folder)
    overrides, experiment = called()
    space = parse_space(plain(settings.space))
    of_trials = [*overrides, *shares(cfg)]
    base = checked(cfg, space, of_trials)
    saved = Path(settings.experiments) / f"{settings.save_as or f'{experiment}_tuned'}.yaml"
    check_free(saved, settings.study)
    if not (Path(base.data.processed) / "report.json").is_file():
        prepare(base)
    storage = open_storage(settings.storage, settings.heartbeat_s, settings.grace_s)
    study = open_study(storage, settings.study, setup(base, space), pruner(settings, base.steps), maximise=True)
    tags = {"git_commit": git_commit(), "data": cfg.data.name}
    tracking = cfg.tracking
    runs = StudyRuns(
        tracking.uri, tracking.experiment, settings.study, tags, f"best_{MONITOR.replace('/', '_')}", tracking.artifacts
    )
    status, pictures = "KILLED", []
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        if settings.trials:
            before = len(begun(study.get_trials(deepcopy=False)))
            console.print(f"tune: study {settings.study}, {before} of {settings.trials} trials begun before")
            job = functools.partial(trial.run, overrides=of_trials)
            told = functools.partial(tell, console, study)
            Crew(storage, study, space, job, runs, plan(settings, folder), told).run()
        pictures = report(study, space, folder, console)
        status = "FINISHED"
    except KeyboardInterrupt:
        console.print("tune: interrupted. The same command goes on where it was.")
        sys.exit(130)
    except Exception:
        status = "FAILED"
        raise
    finally:
        runs.close(status, best_of(study.get_trials(deepcopy=False)), pictures)
    conclude(study, saved, experiment, overrides, console)


def called() -> tuple[list[str], str]:
    """(what the command line says about training, the experiment's name)."""
    hydra = HydraConfig.get()
    kept = [text for text in hydra.overrides.task if not re.match(r"[+~]*tune[.=@]", text)]
    kept += [text for text in hydra.overrides.hydra if "hydra.searchpath" in text]
    given(hydra.overrides.task)
    return kept, str(hydra.runtime.choices["experiment"])


def checked(cfg: DictConfig, space: Space, overrides: Sequence[str]) -> DictConfig:
    """The configuration that trials share. Raises ConfigError on whatever would make every trial fail."""
    base = trial.composed(overrides)
    if not base.fit:
        raise ConfigError(f"{cfg.name} is imported as it is (fit: false): there is nothing to search for.")
    if not re.fullmatch(r"[\w.-]+", str(cfg.tune.study)):
        raise ConfigError("Expected tune.study to be a name of letters, digits, '.', '-' and '_'.")
    check_space(space, base, overrides)
    build(base.datamodule, preprocess=build(base.model.preprocess))
    return base


def check_space(space: Space, base: DictConfig, overrides: Sequence[str]) -> None:
    """Every parameter is a value of the configuration, or a group whose choices compose. Raises ConfigError."""
    for key, parameter in space.items():
        if re.split(r"[./]", key)[0] in _FIXED:
            raise ConfigError(f"tune.space, {key}: this cannot be searched over.")
        if trial.is_group(key):
            known = trial.choices_of(key)
            if not isinstance(parameter, Choice) or not set(parameter.values) <= set(known):
                raise ConfigError(f"tune.space, {key}: expected a choice among {', '.join(known)}.")
        elif OmegaConf.select(base, key, default=_ABSENT) is _ABSENT:
            raise ConfigError(f"tune.space, {key}: the train configuration has no such value.")
        elif isinstance(OmegaConf.select(base, key), DictConfig):
            raise ConfigError(f"tune.space, {key}: expected a single value, this is a group of them.")
    for key, parameter in space.items():
        if isinstance(parameter, Choice):
            for value in parameter.values:
                trial.composed([*overrides, *trial.assignments({key: value})])


def setup(base: DictConfig, space: Space) -> dict[str, Any]:
    """What all trials have in common, by part."""
    shared = _without(plain(base), NOT_DECIDING)
    splits = read_json(Path(base.data.processed) / "report.json")["splits"]
    digests = {name: splits[name]["sha256"] for name in ("train", "val")}
    common = {key: shared[key] for key in COMPARED}
    return {**common, "prepared data": digests, "search space": describe_space(space), "monitored figure": MONITOR}


def _without(values: dict[str, Any], paths: Collection[str], prefix: str = "") -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if f"{prefix}{key}" not in paths}
    return {k: _without(v, paths, f"{prefix}{k}.") if isinstance(v, dict) else v for k, v in kept.items()}


def pruner(settings: DictConfig, steps: int) -> Any:
    """See `make_pruner`."""
    chosen = settings.pruner
    return make_pruner(chosen.kind, chosen.startup_trials, chosen.warmup_steps, steps)


def shares(cfg: DictConfig) -> list[str]:
    """What a trial is told beyond the command line: its steps, and its share of the processors for loading."""
    if cfg.tune.trials < 0 or cfg.tune.workers < 1 or cfg.tune.max_failures < 1:
        raise ConfigError("Expected tune.trials of at least 0, tune.workers and tune.max_failures of at least 1.")
    steps = [] if cfg.tune.steps is None else [f"steps={cfg.tune.steps}"]
    own = cfg.datamodule.workers is None
    return [*steps, *([f"datamodule.workers={threads(cfg.tune) - 1}"] if own else [])]


def threads(settings: DictConfig) -> int:
    """Of torch in each worker."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(settings.threads or max(1, cores // settings.workers))


def plan(settings: DictConfig, folder: Path) -> Plan:
    """See `Plan`."""
    return Plan(
        target=settings.trials,
        workers=settings.workers,
        threads=threads(settings),
        seed=settings.seed,
        startup_trials=settings.startup_trials,
        folder=folder,
        max_failures=settings.max_failures,
        heartbeat_s=settings.heartbeat_s,
        grace_s=settings.grace_s,
        preload=("pipelines.trial", "pipelines.tuned", "training.tuning.plots", "training.tuning.runs"),
    )


def tell(console: Console, study: Study, ended: FrozenTrial) -> None:
    """A line for a trial that ended."""
    state = state_of(ended)
    best = best_of(study.get_trials(deepcopy=False))
    said = f"{ended.value:.4f}" if state == "complete" else ended.user_attrs.get(REASON, f"at step {ended.last_step}")
    so_far = f"; best {best.value:.4f} by trial {best.number}" if best is not None else ""
    console.print(f"  trial {ended.number:3}  {state:8}  {said}{so_far}")


def report(study: Study, space: Space, folder: Path, console: Console) -> list[Path]:
    """Write trials.csv and the pictures; returns what was written."""
    trials = study.get_trials(deepcopy=False)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "trials.csv"]
    write_trials(trials, list(space), written[0])
    complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
    if complete:
        written += [folder / "history.png", folder / "slices.png"]
        draw_history(trials, MONITOR, written[1])
        draw_slices(trials, space, MONITOR, written[2])
    shares = importances(study)
    if shares is None:
        console.print(f"tune: {complete} complete trials, importances are drawn from {ENOUGH} different ones on")
    else:
        written.append(folder / "importances.png")
        draw_importances(shares, complete, written[-1])
    console.print(f"tune: {len(trials)} trials in {written[0]}, pictures beside it")
    return written


def conclude(study: Study, saved: Path, experiment: str, overrides: Sequence[str], console: Console) -> None:
    """Write the best settings as an experiment, and say how to use it."""
    trials = study.get_trials(deepcopy=False)
    best = best_of(trials)
    if best is None or best.value is None:
        console.print("tune: no trial is complete, so there are no best settings yet")
        return
    found = Found(study.study_name, best.number, len(trials), MONITOR, best.value, git_commit())
    write_experiment(saved, experiment, overrides, best.params, found)
    for key, value in best.params.items():
        console.print(f"  {key} = {value:.6g}" if isinstance(value, float) else f"  {key} = {value}")
    console.print(f"tune: best {MONITOR} {best.value:.4f} by trial {best.number}, settings in {saved}")
    console.print(f"Next: python -m pipelines.train experiment={saved.stem}")


def _interrupted(*_: object) -> None:
    """Ended by a scheduler as by Ctrl-C: workers end, runs are closed."""
    raise KeyboardInterrupt


_ABSENT = object()


if __name__ == "__main__":
    main()
