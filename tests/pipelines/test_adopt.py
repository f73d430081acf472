"""A graph from elsewhere becomes a signed champion that verifies, or is refused with a reason; against a real registry."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from hydra import compose, initialize_config_dir
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console

from pipelines import adopt
from pipelines.stage import CONF
from safelight.bundle import read_champion, read_served
from safelight.golden import check
from safelight.postprocess import detect
from serving.models.network import open_network
from tests.serving.conftest import squares
from tests.serving.graphs import SIDE, colour_graph, promote
from tests.serving.head_graphs import LAYOUTS, head_graph

NAME = "street"


@functools.cache
def _composed():
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("adopt")


class Adoption:
    """A working directory with a graph, its labels, a picture and a registry, in which adopt runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.client = root, MlflowClient(f"sqlite:///{root}/mlflow.db")
        (root / "names.txt").write_text("person\n\ncat\n")
        Image.fromarray(squares(person=(48, 8), cat=(8, 32))).save(root / "picture.png")
        self.settings = {
            "name": NAME,
            "onnx": "graph.onnx",
            "labels": "names.txt",
            "licence": "MIT",
            "head": "yolov8",
            "input_size": SIDE,
            "picture": "picture.png",
            "tracking": {"uri": f"sqlite:///{root}/mlflow.db"},
        }

    def configured(self, graph: bytes, **changes: object):
        (self.root / "graph.onnx").write_bytes(graph)
        return OmegaConf.merge(_composed(), {**self.settings, **changes})

    def prepared(self, graph: bytes, **changes: object):
        """What would be bundled: (manifest, graph)."""
        return adopt.prepared(self.configured(graph, **changes), Console(quiet=True))

    def __call__(self, graph: bytes, **changes: object) -> str:
        """Returns the version that is served now."""
        adopt.main(self.configured(graph, **changes))
        return read_champion(self.root / "bundles" / NAME).version

    def served(self):
        return read_served(self.root / "bundles" / NAME, [self.root / ".safelight/signing.pub"])


@pytest.fixture
def adoption(empty_registry, in_tmp):
    shutil.copy(empty_registry, in_tmp / "mlflow.db")
    for command in ("init -q", "-c user.name=t -c user.email=t@localhost commit -q --allow-empty -m start"):
        subprocess.run(["git", *command.split()], check=True)
    return Adoption(in_tmp)


def found(manifest, graph):
    """What is seen on the picture, as the service would run it."""
    network = open_network(manifest, graph, threads=1, provider="cpu", warm_batches=(1, 4))
    check(manifest.golden["model.onnx"], manifest.preprocessing(), network)
    seen = detect(
        squares(person=(48, 8), cat=(8, 32)), manifest.preprocessing(), manifest.decision(), network, floor=0.6
    )
    return sorted((int(c), [round(float(v)) for v in box]) for c, box in zip(seen.class_ids, seen.boxes, strict=True))


BOTH = [(0, [48, 8, 56, 16]), (1, [8, 32, 16, 40])]


def test_a_graph_from_elsewhere_is_served_and_its_bytes_are_as_they_came(adoption, capsys):
    graph = head_graph("yolov8")
    version = adoption(graph)
    assert "cat 1.00, person 1.00" in capsys.readouterr().out
    bundle = adoption.served()
    assert bundle.model == graph and bundle.manifest.version == version
    assert bundle.manifest.head == "yolov8" and bundle.manifest.labels == ("person", "cat")
    assert bundle.manifest.input.shape == ("batch", 3, SIDE, SIDE) and bundle.manifest.licence == "MIT"
    assert found(bundle.manifest, bundle.model) == BOTH
    card = (adoption.root / "bundles" / NAME / version / "README.md").read_text()
    assert "Nothing was measured here" in card and "Licence: MIT" in card
    entry = adoption.client.get_model_version_by_alias(NAME, "champion")
    assert entry.tags["bundle_version"] == version
    before = (adoption.root / "bundles" / NAME / version / "model.sig").read_bytes()
    assert adoption(graph) == version, "the same again is the same version"
    assert (adoption.root / "bundles" / NAME / version / "model.sig").read_bytes() == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_understood_though_the_graph_declares_no_sizes(adoption, layout):
    model = onnx.load_from_string(head_graph(layout))
    for output in model.graph.output:
        for number, dimension in enumerate(output.type.tensor_type.shape.dim):
            dimension.dim_param = f"open_{number}"
    anchors = [[[8.0, 8.0]], [[16.0, 16.0]]] if layout == "yolov3-maps" else None
    manifest, graph = adoption.prepared(model.SerializeToString(), head=LAYOUTS[layout][0], anchors=anchors)
    assert found(manifest, graph) == BOTH


@pytest.mark.parametrize(("dtype", "channels", "batch"), [("uint8", "last", 1), ("float16", "first", "batch")])
def test_other_types_and_orders_of_pixels(adoption, dtype, channels, batch):
    manifest, graph = adoption.prepared(head_graph("yolov8", dtype, channels, batch))
    assert manifest.input.dtype == dtype and manifest.input.shape[0] == batch
    assert found(manifest, graph) == BOTH


def test_what_the_network_wants_done_becomes_a_part_of_its_graph(adoption):
    """A graph that takes blue first, in 0 to 255, less a mean and in deviations, made out of one that takes RGB in [0, 1]."""
    mean, std = np.array([10.0, 20.0, 30.0]), np.array([50.0, 60.0, 70.0])  # of blue, green and red
    undo = onnx.helper.make_node
    model = onnx.load_from_string(head_graph("yolov8"))
    values = {"std": std.reshape(1, 3, 1, 1), "mean": mean.reshape(1, 3, 1, 1), "whole": np.array(255.0)}
    for name, value in values.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 1, 0]), "turned"))
    for node in model.graph.node:
        node.input[:] = ["rgb" if name == "images" else name for name in node.input]
    for number, node in enumerate(
        [
            undo("Mul", ["images", "std"], ["a"]),
            undo("Add", ["a", "mean"], ["b"]),
            undo("Div", ["b", "whole"], ["c"]),
            undo("Gather", ["c", "turned"], ["rgb"], axis=1),
        ]
    ):
        model.graph.node.insert(number, node)
    wants = {"bgr": True, "scale": 255.0, "mean": mean.tolist(), "std": std.tolist()}
    manifest, graph = adoption.prepared(model.SerializeToString(), input=wants)
    assert found(manifest, graph) == BOTH
    assert manifest.configuration["adopted"]["input"] == wants


def outside(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    tensor = next(t for t in model.graph.initializer if t.raw_data)
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    return model.SerializeToString()


def without_its_last_activation(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(-3, np.float32), "moved"))
    last = next(node for node in model.graph.node if node.output[0] == "output0")
    last.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Add", ["before", "moved"], ["output0"]))
    return model.SerializeToString()


REFUSED = {
    "no model": (lambda: b"graph", {}, "no well-formed ONNX"),
    "weights elsewhere": (lambda: outside(head_graph("yolov8")), {}, "another file"),
    "another head": (lambda: head_graph("yolov8"), {"head": "yolov5"}, "objectness"),
    "no head": (lambda: head_graph("yolov8"), {"head": "yolov9"}, "head: expected one of"),
    "logits": (lambda: without_its_last_activation(head_graph("yolov8")), {}, r"scores in \[0, 1\]"),
    "pixels as parts": (lambda: head_graph("yolo-nas"), {"head": "detr"}, "far outside"),
    "parts as pixels": (lambda: head_graph("detr-sigmoid"), {"head": "yolo-nas"}, r"scores in \[0, 1\]"),
    "another size": (lambda: head_graph("yolov8"), {"input_size": 32}, "32 x 32"),
    "bytes to scale": (lambda: head_graph("yolov8", "uint8"), {"input": {"scale": 255.0}}, "scales them itself"),
    "no anchors": (lambda: head_graph("yolov3-maps"), {"head": "yolov3"}, "anchors"),
    "no licence": (lambda: head_graph("yolov8"), {"licence": None}, "licence="),
    "no name": (lambda: head_graph("yolov8"), {"name": "Street!"}, "name"),
    "no picture": (lambda: head_graph("yolov8"), {"picture": None, "pictures": "none"}, "Expected pictures"),
}


@pytest.mark.parametrize(("graph", "changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_in_doubt_is_refused_and_nothing_is_left(adoption, graph, changes, reason):
    with pytest.raises(SystemExit, match=reason):
        adoption(graph(), **changes)
    assert not list((adoption.root / "bundles").glob("*/*"))


def test_a_champion_that_was_trained_here_stays_unless_told_otherwise(adoption):
    adoption(head_graph("yolov8"))  # makes the key, too
    home = adoption.root / "bundles" / NAME
    promote(adoption.root / "bundles", adoption.root / ".safelight/signing.key", colour_graph(), name=NAME)
    with pytest.raises(SystemExit, match="trained here"):
        adoption(head_graph("yolov8"))
    assert read_champion(home).version == "v1"
    adopted = adoption(head_graph("yolov8"), replace=True)
    assert read_champion(home).version == adopted != "v1"
    assert adoption(head_graph("yolov8-turned")) != adopted, "one adopted graph takes the place of another"


def test_a_champion_that_only_the_registry_has_stays_too(adoption):
    adoption(head_graph("yolov8"))
    shutil.rmtree(adoption.root / "bundles" / NAME)
    with pytest.raises(SystemExit, match="in the registry"):
        adoption(head_graph("yolov8-turned"))
