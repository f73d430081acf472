"""Somebody's folder of pictures, trained, released and served: three commands."""

import json
import shutil

import pytest

from pipelines.served import served
from safelight.client import Client
from tests.e2e.yolo_folder import write_yolo_folder

COMMANDS = (
    "python -m pipelines.train experiment=folder data.path=pictures name=mine",
    "python -m pipelines.release experiment=folder data.path=pictures name=mine",
    "SAFELIGHT_MODELS=mine SAFELIGHT_DEFAULT_MODEL=mine make serve",
)
"""As the README has them."""


@pytest.fixture(scope="module")
def said(project):
    """What the first two commands print, run with `debug=fast`."""
    assert write_yolo_folder(project.root / "data/raw/neon-trees/YELL_528000.png", project.root / "pictures") > 20
    yield [project.run(f"{command} debug=fast") for command in COMMANDS[:2]]
    shutil.rmtree(project.root / "pictures")


def test_the_first_command_prepares_and_trains(project, said):
    train, _ = said
    assert "yolo" in train and "train: mine" in train
    report = json.loads((project.root / "outputs/fast/processed/mine/report.json").read_text())
    assert report["labels"] == ["crown"]
    assert set(report["splits"]) == {"train", "val", "test"}
    assert all(split["boxes"] for split in report["splits"].values())


def test_the_second_measures_exports_registers_and_promotes(project, said):
    _, release = said
    for words in ("evaluate: mine", "export: mine", "@candidate", "is the champion now, the first"):
        assert words in release
    manifest = next((project.root / "outputs/fast/bundles/mine").glob("*/manifest.json"))
    assert str(project.root) not in manifest.read_text()


def test_no_picture_of_private_data_leaves(project, said):
    shown = [p for p in (project.root / "outputs/fast/evaluate/mine").rglob("*") if p.suffix in (".jpg", ".jpeg")]
    assert not shown


def test_the_third_serves_it(project, said):
    settings = dict(setting.split("=") for setting in COMMANDS[2].split()[:2])
    env = project.env | settings | {"SAFELIGHT_BUNDLES": "outputs/fast/bundles"}
    picture = next((project.root / "pictures/images").iterdir())
    with served("serving.service:Gateway", 120, env, project.root) as url, Client(url) as client:
        answer = client.detect(picture, model="mine", threshold=0.01)
        assert set(answer.counts) <= {"crown"}
        assert answer.model.name == "mine"
