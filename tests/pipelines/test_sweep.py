"""Grids of jobs: here one after another, and through submitit as on a cluster."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipelines.sweep import keep_apart, summarise
from tests.pipelines.project import make_project

ROOT = Path(__file__).resolve().parents[2]


def run(stage, *overrides):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", f"pipelines.{stage}", *overrides]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


def only(folder):
    (found,) = folder.iterdir()
    return found


def test_each_job_of_a_grid_trains_into_a_folder_of_its_own(tmp_path):
    done = run("train", "-m", *make_project(tmp_path), "seed=0,1")
    assert done.returncode == 0, done.stderr
    outputs = tmp_path / "outputs"
    assert [path.name for path in outputs.iterdir()] == ["sweeps"]
    sweep = only(outputs / "sweeps")
    weights = [(sweep / job / "train" / "tree-crowns" / "model.safetensors").read_bytes() for job in "01"]
    assert weights[0] != weights[1]
    rows = list(csv.DictReader((sweep / "sweep.csv").open()))
    assert [(row["job"], row["status"], row["seed"]) for row in rows] == [
        ("0", "completed", "0"),
        ("1", "completed", "1"),
    ]
    for row in rows:
        assert (
            float(row["val/map50"])
            == json.loads((sweep / row["job"] / "train/tree-crowns/summary.json").read_text())["val/map50"]
        )
    assert "val/map50" in done.stdout and "2 jobs in" in done.stdout


def test_submitit_runs_the_jobs_in_processes_of_their_own(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = run(
        "prepare", "-m", "experiment=coco", "seed=3,4", "hydra/launcher=submitit_local", f"paths.outputs={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    sweep = only(tmp_path / "sweeps")
    told = [json.loads((sweep / job / "job.json").read_text()) for job in "01"]
    assert [entry["status"] for entry in told] == ["completed"] * 2
    assert ["seed=3" in told[0]["overrides"], "seed=4" in told[1]["overrides"]] == [True, True]
    assert len(list((sweep / ".submitit").glob("[0-9]*"))) == 2


def test_what_a_job_writes_is_its_own_and_what_jobs_share_is_not():
    cfg = OmegaConf.create(
        {
            "paths": {
                "outputs": "outputs",
                "processed": "data/processed",
                "metrics": "metrics",
                "seconds": "outputs/seconds",
            },
            "out": {"train": "${paths.outputs}/train/x", "evaluate": "/elsewhere/x"},
        }
    )
    keep_apart(cfg, Path("outputs/sweeps/s/3"))
    assert OmegaConf.to_container(cfg, resolve=True) == {
        "paths": {
            "outputs": "outputs",
            "processed": "data/processed",
            "metrics": "outputs/sweeps/s/3/metrics",
            "seconds": "outputs/sweeps/s/3/seconds",
        },
        "out": {"train": "outputs/sweeps/s/3/train/x", "evaluate": "/elsewhere/x"},
    }


def test_a_summary_names_what_differs_and_jobs_without_figures(tmp_path):
    for number, status in ((0, "completed"), (2, "failed"), (10, "completed")):
        job = tmp_path / str(number)
        (job / "train" / "x").mkdir(parents=True)
        told = {"overrides": ["debug=fast", f"seed={number}", "+a=b=c"], "status": status}
        (job / "job.json").write_text(json.dumps(told))
        if status == "completed":
            (job / "train" / "x" / "summary.json").write_text(json.dumps({"score": number / 10, "text": "text"}))
    assert summarise(tmp_path) == [
        {"job": "0", "status": "completed", "seed": "0", "score": 0.0},
        {"job": "2", "status": "failed", "seed": "2"},
        {"job": "10", "status": "completed", "seed": "10", "score": 1.0},
    ]
    assert summarise(tmp_path / "none") == []
