"""A graph of somebody else's YOLO, adopted by the command, answers requests to the gateway."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from pipelines import adopt
from pipelines.stage import CONF
from tests.serving.conftest import encoded, squares
from tests.serving.head_graphs import head_graph


@pytest.mark.parametrize(("dtype", "channels", "batch"), [("float32", "first", "batch"), ("uint8", "last", 1)])
def test_an_adopted_model_answers(settings, make_client, empty_registry, in_tmp, dtype, channels, batch):
    shutil.copy(empty_registry, in_tmp / "mlflow.db")
    for command in ("init -q", "-c user.name=t -c user.email=t@localhost commit -q --allow-empty -m start"):
        subprocess.run(["git", *command.split()], check=True)
    (in_tmp / "graph.onnx").write_bytes(head_graph("yolov8", dtype, channels, batch))
    (in_tmp / "names.txt").write_text("person\ncat\n")
    picture = squares(person=(48, 8), cat=(8, 32))
    Image.fromarray(picture).save(in_tmp / "picture.png")
    given = ("name=street", "onnx=graph.onnx", "labels=names.txt", "licence=AGPL-3.0", "head=yolov8", "input_size=64")
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        cfg = compose("adopt", overrides=[*given, "picture=picture.png", f"tracking.uri=sqlite:///{in_tmp}/mlflow.db"])
    adopt.main(cfg)
    own = settings.model_copy(
        update={
            "bundles": in_tmp / "bundles",
            "public_keys": (in_tmp / ".safelight/signing.pub",),
            "models": ("street",),
            "default_model": "street",
        }
    )
    client = make_client(own)
    answer = client.post("/v1/detect", content=encoded(picture)).json()
    assert answer["counts"] == {"person": 1, "cat": 1}
    sides = ("x_min", "y_min", "x_max", "y_max")
    boxes = {a["class_name"]: [a["data"][side] for side in sides] for a in answer["annotations"]}
    assert boxes == {"person": [48, 8, 56, 16], "cat": [8, 32, 16, 40]}
    (model,) = client.get("/v1/models").json()["models"]
    assert model["state"] == "ready"
