"""What export tells serving reaches the manifest, and is the same each time."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines import register
from pipelines.export import for_serving
from safelight.bundle import MODEL, read_bundle
from safelight.drift import LEAST
from safelight.golden import check
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from tests.pipelines.promotion import NAME, configured, write_data, write_export
from tests.serving.graphs import SIDE, colour_graph
from training.detector.scenes import read_scenes
from training.export.onnx import onnx_run

SQUARE, DECISION = Preprocess("letterbox", SIDE), Thresholds(0.5, 0.5)


@pytest.fixture
def uri(empty_registry, in_tmp):
    shutil.copy(empty_registry, in_tmp / "mlflow.db")
    for command in ("init -q", "-c user.name=t -c user.email=t@localhost commit -q --allow-empty -m start"):
        subprocess.run(["git", *command.split()], check=True)  # a manifest wants a commit
    return f"sqlite:///{in_tmp}/mlflow.db"


def told(uri, pictures):
    """What the export stage writes for serving, of a split with so many pictures."""
    shutil.rmtree("data", ignore_errors=True)
    write_data(Path(), pictures)
    write_export(Path(), colour_graph())
    scenes = read_scenes(Path("data/processed/val"))
    return for_serving(configured(uri), {"variants": {}}, scenes, SQUARE, DECISION)


def test_golden_samples_and_reference_reach_the_manifest(uri, in_tmp):
    serving = told(uri, LEAST)
    assert serving == told(uri, LEAST)
    path = in_tmp / "outputs/export" / NAME / "serving.json"
    path.write_text(json.dumps(serving))
    register.main(configured(uri))
    [manifest] = (in_tmp / "outputs/register" / NAME).glob("*/manifest.json")
    bundle = read_bundle(manifest.parent, [in_tmp / ".safelight/signing.pub"])
    check(bundle.manifest.golden[MODEL], SQUARE, onnx_run(bundle.model))
    counted = bundle.manifest.reference.histograms
    assert sum(counted["boxes"]) == LEAST and counted["boxes"][4] == LEAST  # six cells on each picture
    before = manifest.read_bytes()
    register.main(configured(uri))
    assert manifest.read_bytes() == before


def test_other_golden_samples_are_another_version(uri, in_tmp):
    serving = told(uri, 4)
    assert serving["reference"] is None  # four pictures tell nothing
    versions = set()
    for seed in (0, 1):
        path = in_tmp / "outputs/export" / NAME / "serving.json"
        path.write_text(json.dumps(serving | {"golden": {MODEL: serving["golden"][MODEL] | {"seed": seed}}}))
        register.main(configured(uri))
        versions.add(json.loads((in_tmp / "outputs/register" / NAME / "candidate.json").read_text())["version"])
    assert len(versions) == 2


def test_an_export_without_them_is_not_registered(uri):
    write_data(Path())
    write_export(Path(), colour_graph())
    Path("outputs/export", NAME, "serving.json").unlink()
    with pytest.raises(SystemExit, match=r"Expected serving\.json"):
        register.main(configured(uri))
