"""`make run` from raw data to a served answer, and what it leaves behind."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pipelines.served import ServiceNotReady, served
from safelight.client import ApiError, Client

FAST = "outputs/fast"


def test_run_json_tells_everything(project):
    report = json.loads((project.root / FAST / "run.json").read_text())
    assert [model["name"] for model in report["models"]] == ["coco", "tree-crowns"]
    for model in report["models"]:
        assert len(model["version"]) == 12 and len(model["digest"]) == 64
        assert set(model["parity"]["tensors"]) == {"1", "2", "8"}
    coco, trees = report["models"]
    assert coco["metrics"]["test"] is None and "No labelled COCO" in coco["metrics"]["reason"]
    assert 0 <= trees["metrics"]["test"]["map50"]["value"] <= 1
    assert trees["parity"]["map50"]["drop"] <= 0.001
    assert report["sample"]["counts"] == {"person": 1}
    stages = {name.partition("@")[0] for name in report["seconds"]}
    assert stages >= {"fetch", "prepare", "train", "evaluate", "export", "register", "package"}


def test_the_sample_is_the_photo_with_its_box(project):
    sample = np.asarray(Image.open(project.root / FAST / "sample.png"))
    photo = np.asarray(Image.open(project.root / "data/raw/photos/astronaut.png").convert("RGB"))
    assert sample.shape == photo.shape
    changed = (sample != photo).any(axis=2)
    assert 0.002 < changed.mean() < 0.2


def test_the_summary_is_for_people(project):
    for text in ("Models served", "tree-crowns", "1 person", "make serve"):
        assert text in project.output


def test_nothing_real_was_touched(project):
    status = project.run("git status --porcelain")
    assert status.strip() == ""
    assert not (project.root / "bundles").exists() and not (project.root / "mlflow.db").exists()
    assert oct((project.root / ".safelight/signing.key").stat().st_mode & 0o777) == "0o600"


def test_the_package_serves_and_answers(project):
    tag = json.loads((project.root / FAST / "bento.json").read_text())["tag"]
    photos = project.root / "data/raw/photos"
    with served(tag, 120, project.env, project.root) as url, Client(url) as client:
        assert client.detect(photos / "chelsea.png", model="coco").counts == {"cat": 1}
        assert client.detect(photos / "camera.png", model="coco").counts == {"person": 1}
        states = {m.name: m.state for m in client.models() if m.task != "image-to-json" and m.name != "keys"}
        assert states == {"coco": "ready", "tree-crowns": "ready"}
        for body, status in ((b"", 400), (b"no picture", 415), ((photos / "chelsea.png").read_bytes()[:5000], 422)):
            with pytest.raises(ApiError) as refused:
                client.detect(body, model="coco")
            assert refused.value.status == status


def test_the_bento_holds_neither_training_nor_the_private_key(project):
    names = [
        str(path.relative_to(project.root)) for path in (project.root / FAST / "bento").rglob("*") if path.is_file()
    ]
    assert any(name.endswith("signing.pub") for name in names)
    assert not [name for name in names if name.endswith(".key") or "/training/" in name or "/pipelines/" in name]


def test_one_flipped_bit_and_nothing_is_served(project, tmp_path):
    """Both bundles damaged: the service must not start at all."""
    broken = shutil.copytree(project.root / FAST / "bundles", tmp_path / "bundles")
    for model in broken.rglob("model.onnx"):
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
    env = {**project.env, "SAFELIGHT_BUNDLES": str(broken)}
    with (
        pytest.raises(ServiceNotReady, match="No model can be served"),
        served("serving.service:Gateway", 60, env, project.root),
    ):
        pass


def test_a_second_registration_makes_no_second_version(project):
    said = project.run("python -m pipelines.register experiment=coco debug=fast")
    assert "MLflow version 1 @candidate" in said
