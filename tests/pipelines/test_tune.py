"""python -m pipelines.tune from end to end: killed, taken up again, its findings used; and what it refuses."""

import csv
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf
from optuna import create_study
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from PIL import Image
from rich.console import Console

from pipelines.stage import CONF, plain
from pipelines.trial import assignments
from pipelines.tune import check_space, checked, conclude, report, shares
from safelight.errors import ConfigError
from tests.pipelines.project import make_project
from training.tuning.plots import importances
from training.tuning.space import parse_space

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """(folder, overrides): shared by the tests of this file, the search in it is run once."""
    folder = tmp_path_factory.mktemp("tune")
    overrides = make_project(folder)
    return folder, [*overrides, f"tune.experiments={folder / 'found' / 'experiment'}"]


def command(overrides):
    return [sys.executable, "-m", "pipelines.tune", *overrides]


def tune(overrides):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command(overrides), cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


def children(pid):
    """Processes below a process, where there is a /proc to tell."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            number = int(stat.parent.name)
            found += [number, *children(number)]
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def searched(project):
    """A search of three trials, killed in its second one, and the same command again."""
    folder, overrides = project
    study = folder / "outputs" / "tune" / "tree-crowns"
    overrides = [*overrides, "tune.trials=3", "tune.heartbeat_s=1", "tune.grace_s=3", "tune.threads=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(overrides), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (study / "trial-1" / "config.yaml").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    below = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(map(alive, below)):  # workers see to it themselves
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return study, tune([*overrides, "tune.workers=2"])


def test_a_killed_search_completes_what_was_missing(searched):
    study, again = searched
    assert again.returncode == 0, again.stderr
    assert "Warning" not in again.stderr
    assert "1 of 3 trials begun before" in again.stdout or "2 of 3 trials begun before" in again.stdout
    rows = list(csv.DictReader((study / "trials.csv").open()))
    assert len(rows) == 4
    assert [row["trial"] for row in rows if row["state"] == "killed"] == ["1"]
    assert [row["trial"] for row in rows if row["retry_of"] == "1"] == ["2"]
    assert all(row["state"] in ("complete", "pruned") for row in rows if row["trial"] != "1")
    assert rows[1]["module.learning_rate"] == rows[2]["module.learning_rate"]
    for name in ("history.png", "slices.png"):
        assert Image.open(study / name).width > 500
    assert not (study / "importances.png").exists() and "importances are drawn from 10" in again.stdout


def test_every_run_in_mlflow_has_ended(searched, project):
    client = MlflowClient(f"sqlite:///{project[0] / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("safelight")
    runs = client.search_runs([experiment.experiment_id])
    by_trial = {run.data.tags.get("trial", "study"): run for run in runs}
    assert len(runs) == 5
    assert {name: run.info.status for name, run in by_trial.items()} == {
        **dict.fromkeys(("study", "0", "2", "3"), "FINISHED"),
        "1": "KILLED",
    }
    parent = by_trial.pop("study")
    assert {run.data.tags["mlflow.parentRunId"] for run in by_trial.values()} == {parent.info.run_id}
    assert set(by_trial["0"].data.metrics) >= {"best_val_map50", "val_map50", "train_loss"}
    assert {path.path for path in client.list_artifacts(parent.info.run_id)} >= {"trials.csv", "history.png"}


def test_the_train_stage_is_untouched_and_no_weights_are_kept(searched, project):
    assert not (project[0] / "outputs" / "train").exists()
    assert not list((project[0] / "outputs").rglob("*.safetensors"))
    assert (searched[0] / "trial-0" / "history.csv").stat().st_size > 0


def test_the_best_settings_are_an_experiment(searched, project):
    folder, _ = project
    saved = folder / "found" / "experiment" / "tree_crowns_tuned.yaml"
    text = saved.read_text()
    assert text.startswith("# @package _global_\n") and "# study: tree-crowns\n" in text
    rows = [row for row in csv.DictReader((searched[0] / "trials.csv").open()) if row["value"]]
    best = max(rows, key=lambda row: float(row["value"]))
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        search = f"hydra.searchpath=[file://{folder / 'found'}]"
        cfg = compose("train", overrides=["experiment=tree_crowns_tuned", search])
        before = compose("train", overrides=["experiment=tree_crowns"])
    assert cfg.module.learning_rate == float(best["module.learning_rate"])
    assert cfg.trainer.gradient_clip_val == float(best["trainer.gradient_clip_val"])
    assert cfg.name == before.name and cfg.about == before.about  # the same model, by a better recipe
    assert cfg.steps == 4 and cfg.data.labels == ["square"]  # what the search was told of the task
    assert cfg.paths == before.paths and cfg.trainer.precision == before.trainer.precision  # but not of the machine


def composed(primary, *overrides):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(primary, overrides=list(overrides))


FOR = {"transformers": ["experiment=folder", "model=rtdetr_v2_r18"], "models": ["experiment=folder"]}
"""What a space is made for, where it is not the default."""

SPACES = sorted(path.stem for path in (CONF / "tune").glob("*.yaml"))


@pytest.mark.parametrize("space", SPACES)
def test_every_search_space_is_of_values_that_there_are(space):
    parsed = parse_space(plain(composed("tune", f"tune={space}").tune.space))
    meant = FOR.get(space, [])
    check_space(parsed, composed("train", *meant), meant)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"module.learning_rat": {"type": "float", "low": 1, "high": 2}}, "has no such value"),
        ({"module": {"type": "float", "low": 1, "high": 2}}, "expected a single value"),
        ({"model": {"type": "float", "low": 1, "high": 2}}, "expected a choice among"),
        ({"model": {"type": "choice", "values": ["yolov3_tiny", "none_such"]}}, "expected a choice among"),
        ({"paths.outputs": {"type": "choice", "values": ["a", "b"]}}, "cannot be searched over"),
        ({"data.processed": {"type": "choice", "values": ["a", "b"]}}, "cannot be searched over"),
    ],
)
def test_a_space_that_does_not_fit_the_configuration_is_refused(space, message):
    with pytest.raises(ConfigError, match=message):
        check_space(parse_space(space), composed("train"), [])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fit=false"], "nothing to search for"),
        (["tune.workers=0"], r"tune\.workers"),
        (["tune.study='../x'"], r"tune\.study to be a name"),
        (["steps=5", "val_every=2"], "multiple of val_every"),
    ],
)
def test_what_would_make_every_trial_fail_is_refused_before_the_first(project, overrides, message):
    wanted = [*project[1], *overrides]
    cfg = composed("tune", *wanted)
    of_trials = [text for text in wanted if not text.startswith("tune.")]
    with pytest.raises(ConfigError, match=message):
        checked(cfg, parse_space(plain(cfg.tune.space)), [*of_trials, *shares(cfg)])


def test_values_of_any_kind_reach_the_configuration():
    values = {"name": "it's {a: b}, ${c} \\", "steps": 7, "ema_decay": None, "module.learning_rate": 1e-07, "fit": True}
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=assignments(values))
    assert OmegaConf.to_container(cfg)["name"] == values["name"]
    assert (cfg.steps, cfg.ema_decay, cfg.module.learning_rate, cfg.fit) == (7, None, 1e-07, True)


def test_pictures_and_words_of_a_study_with_enough_trials(tmp_path):
    space = parse_space(
        {"x": {"type": "float", "low": 0.01, "high": 1, "log": True}, "y": {"type": "choice", "values": ["a", None]}}
    )
    study = create_study(direction="maximize", sampler=RandomSampler(seed=0))
    said = Console(file=StringIO(), width=200)
    assert [path.name for path in report(study, space, tmp_path, said)] == ["trials.csv"]
    conclude(study, tmp_path / "best.yaml", "coco", [], said)
    assert "no best settings yet" in said.file.getvalue() and not (tmp_path / "best.yaml").exists()
    for number in range(12):
        trial = study.ask()
        drawn = {name: parameter.draw(trial, name) for name, parameter in space.items()}
        trial.report(0.1, 1)
        study.tell(trial, state=TrialState.PRUNED) if number == 5 else study.tell(trial, -abs(drawn["x"] - 0.1))
    written = report(study, space, tmp_path, said)
    assert [path.name for path in written] == ["trials.csv", "history.png", "slices.png", "importances.png"]
    assert all(path.stat().st_size > 1000 for path in written[1:])
    shares = importances(study)
    assert list(shares) == ["x", "y"] and sum(shares.values()) == pytest.approx(1)
    conclude(study, tmp_path / "best.yaml", "coco", [], said)
    assert "pipelines.train experiment=best" in said.file.getvalue()
