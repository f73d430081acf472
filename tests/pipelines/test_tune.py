"""python -m pipelines.tune from end to end: killed, taken up again, its findings used; and what it refuses."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from mlflow.tracking import MlflowClient
from PIL import Image

from pipelines.stage import CONF
from tests.pipelines.project import make_project

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


@pytest.fixture(scope="module")
def searched(project):
    """A search of four trials, killed in its second one, and the same command again."""
    folder, overrides = project
    study = folder / "outputs" / "tune" / "tree-crowns"
    overrides = [*overrides, "tune.trials=4", "tune.heartbeat_s=1", "tune.grace_s=3", "tune.threads=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(overrides), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (study / "trial-1" / "config.yaml").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return study, tune([*overrides, "tune.workers=2"])


def test_a_killed_search_completes_what_was_missing(searched):
    study, again = searched
    assert again.returncode == 0, again.stderr
    assert "Warning" not in again.stderr
    assert "1 of 4 trials begun before" in again.stdout or "2 of 4 trials begun before" in again.stdout
    rows = list(csv.DictReader((study / "trials.csv").open()))
    assert len(rows) == 5
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
    assert len(runs) == 6
    assert {name: run.info.status for name, run in by_trial.items()} == {
        **dict.fromkeys(("study", "0", "2", "3", "4"), "FINISHED"),
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
        plain = compose("train", overrides=["experiment=tree_crowns"])
    assert cfg.module.learning_rate == float(best["module.learning_rate"])
    assert cfg.trainer.gradient_clip_val == float(best["trainer.gradient_clip_val"])
    assert cfg.name == plain.name and cfg.about == plain.about  # the same model, by a better recipe
    assert cfg.steps == 4 and cfg.data.labels == ["square"]  # what the search was told of the task
    assert cfg.paths == plain.paths and cfg.trainer.precision == plain.trainer.precision  # but not of the machine


def test_more_trials_and_none(searched, project):
    _, overrides = project
    only = tune([*overrides, "tune.trials=0"])
    assert only.returncode == 0, only.stderr
    assert "5 trials in" in only.stdout and "  trial " not in only.stdout


def test_a_study_is_not_gone_on_with_under_other_conditions(searched, project):
    _, overrides = project
    other = tune([*overrides, "ema_decay=0.5"])
    assert other.returncode == 1
    assert "begun with another ema_decay" in other.stderr and "Traceback" not in other.stderr
