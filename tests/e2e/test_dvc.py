"""What DVC runs when something changes, what it shows, and what survives a kill: the real stages, on one small scene."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.e2e.conftest import cloned

TARGET = "promote@tree-crowns"
EXPERIMENT = "conf/experiment/tree_crowns.yaml"
MODEL = "conf/model/yolov3_tiny.yaml"
SMALL = """
steps: 4
val_every: 2
log_every: 1
bootstrap_samples: 10
datamodule: {batch_size: 2, workers: 0}
export: {exporter: traced, int8: {samples: 4}, repeats: 1}
promotion: {accept_unmeasured: true, latency: {ratio: 100.0}}
"""
SPLITS = """splits:
  train: [{scene: SOAP_061}]
  val: [{scene: OSBS_029, region: [0, 0, 400, 190]}]
  test: [{scene: OSBS_029, region: [0, 210, 400, 400]}]
"""


class Repo:
    """A clone whose pipeline takes seconds."""

    def __init__(self, project):
        self.project, self.root = project, project.root
        self.edit(EXPERIMENT, "evaluation:\n", "evaluation:\n  latency_inputs: 2\n")
        self.edit(EXPERIMENT, "\nabout:\n", f"{SMALL}\nabout:\n")
        data = self.root / "conf/data/tree_crowns.yaml"
        data.write_text(data.read_text().partition("splits:\n")[0] + SPLITS)
        self.commit()

    def edit(self, name, old, new):
        path = self.root / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new))

    def run(self, command):
        return self.project.run(command, timeout_s=600)

    def commit(self):
        self.run("git add -A && git -c user.name=t -c user.email=t@localhost commit -qm change")

    def repro(self):
        """The stages that ran, without the model's name."""
        return set(re.findall(r"^Running stage '([a-z]+)", self.run(f"dvc repro {TARGET}"), re.M))


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    made = Repo(cloned(tmp_path_factory))
    made.first = made.repro()
    made.commit()
    yield made
    shutil.rmtree(made.root, ignore_errors=True)


def test_the_first_time_everything_runs_and_the_second_time_nothing(repo):
    assert repo.first >= {"configure", "prepare", "train", "evaluate", "export", "register", "promote"}
    assert repo.repro() == set()


def test_a_comment_in_the_configuration_composes_anew_and_no_more(repo):
    repo.edit(EXPERIMENT, "fit: true\n", "fit: true   # a remark\n")
    assert repo.repro() == {"configure"}


def test_the_cards_words_make_another_bundle_and_no_other_weights(repo):
    repo.edit(EXPERIMENT, "summary: Finds the crowns", "summary: Finds all crowns")
    assert repo.repro() == {"configure", "register", "promote"}


def test_another_overlap_of_matches_is_measured_but_not_trained(repo):
    repo.edit(EXPERIMENT, "match_iou: 0.4", "match_iou: 0.3")
    ran = repo.repro()
    assert ran >= {"configure", "evaluate"} and not ran & {"prepare", "train"}


def test_code_of_the_export_exports_again_and_no_more(repo):
    path = repo.root / "training/export/parity.py"
    path.write_text(path.read_text() + "\n# a remark\n")
    ran = repo.repro()
    assert "export" in ran and ran <= {"export", "register", "promote"}


def test_a_rule_of_the_data_that_changes_no_record_trains_nothing(repo):
    repo.edit("conf/data/tree_crowns.yaml", "max_quarantined: 0.05", "max_quarantined: 0.06")
    ran = repo.repro()
    assert "prepare" in ran and "train" not in ran


def test_a_file_of_no_stage_runs_nothing(repo):
    (repo.root / "docs/note.md").write_text("a note")
    assert repo.repro() == set()


def test_a_killed_training_is_completed_by_the_next_repro(repo):
    repo.edit(EXPERIMENT, "steps: 4\nval_every: 2", "steps: 30\nval_every: 10")
    env, checkpoints = repo.project.env, repo.root / "outputs/checkpoints/tree-crowns"
    shutil.rmtree(checkpoints, ignore_errors=True)
    with subprocess.Popen(
        ["dvc", "repro", TARGET],
        cwd=repo.root,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        until, seen = time.monotonic() + 300, set()
        while len(seen) < 2:  # the first is written before the first step
            assert running.poll() is None and time.monotonic() < until
            seen |= {path.stat().st_mtime_ns for path in checkpoints.glob("resume.ckpt")}
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
    said = repo.run(f"dvc repro {TARGET}")
    assert "train: tree-crowns goes on where it was" in said
    assert not (repo.root / "outputs/train/tree-crowns/summary.json").read_text().count('"steps": 4,')
    repo.commit()


def test_an_experiment_changes_one_value_and_shows_what_came_of_it(repo):
    repo.run(f"dvc exp run -S {MODEL}:learning_rate=0.003 {TARGET}")
    parameters = json.loads(repo.run("dvc params diff --json"))
    assert parameters[MODEL]["learning_rate"]["new"] == 0.003
    assert json.loads(repo.run("dvc metrics diff --json --all"))
    shown = repo.run("dvc exp show --csv --no-pager")
    assert "learning_rate" in shown and "map50" in shown
    page = repo.run("dvc plots diff HEAD --out shown").strip()
    assert page.endswith("index.html")
    html = (repo.root / "shown/index.html").read_text()
    assert "train_loss" in html and "recall" in html
    assert "# YOLOv3-tiny" in (repo.root / MODEL).read_text()  # comments survive


def round_trip(repo):
    repo.run("dvc push -q")
    for name in (".dvc/cache", "outputs/train", "outputs/export", "data/processed"):
        shutil.rmtree(repo.root / name)
    repo.run("dvc pull -q evaluate@tree-crowns export@tree-crowns train@tree-crowns prepare")
    status = json.loads(repo.run("dvc status --json"))
    assert not [stage for stage in status if stage.startswith(("train@tree", "prepare", "export@tree"))]


def test_a_folder_as_remote_round_trips(repo, tmp_path):
    repo.run(f"dvc remote add -f -d store {tmp_path}/store")
    round_trip(repo)


def test_s3_as_remote_round_trips(repo):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        names = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        repo.project.env.update(names)
        access = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=url, **access).create_bucket(Bucket="models")
        repo.run("dvc remote add -f -d store s3://models/safelight")
        repo.run(f"dvc remote modify store endpointurl {url}")
        round_trip(repo)
    finally:
        server.stop()
