"""Against a real MLflow on an SQLite file."""

import numpy as np
import onnx
import pytest
from mlflow.tracking import MlflowClient
from onnx import TensorProto, helper

from safelight.bundle import Champion, read_champion
from training.registry.promotion import promote
from training.registry.tracking import close_run, find_version, flat_metrics, open_run, register


@pytest.fixture
def uri(in_tmp):
    return f"sqlite:///{in_tmp}/mlflow.db"


@pytest.fixture
def graph(in_tmp):
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in ("images", "boxes")]
    made = helper.make_graph([helper.make_node("Relu", ["images"], ["boxes"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "model.onnx")
    return in_tmp / "model.onnx"


def logged(uri, graph, version="abc"):
    run_id = open_run(uri, "safelight", "a run", {"kind": "test"})
    (graph.parent / "note.txt").write_text("x")
    example = np.ones((1, 2), np.float32)
    registered = register(
        uri,
        run_id,
        "coco",
        graph,
        example,
        {"boxes": example},
        input_name="images",
        tags={"bundle_version": version, "git_commit": "0" * 40},
        metrics={"test/map50": 0.5},
        artifacts={"bundle": graph.parent / "note.txt"},
        data={"name": "trees", "source": "data/processed/trees", "digest": "d" * 64},
    )
    close_run(uri, run_id, failed=False)
    return registered


def test_a_registered_model_has_its_lineage(uri, graph):
    registered = logged(uri, graph)
    client = MlflowClient(uri)
    version = client.get_model_version_by_alias("coco", "candidate")
    assert (str(version.version), version.run_id) == (registered.version, registered.run_id)
    assert version.tags["bundle_version"] == "abc" and version.tags["git_commit"] == "0" * 40
    run = client.get_run(registered.run_id)
    assert run.data.metrics["test/map50"] == 0.5
    assert run.inputs.dataset_inputs[0].dataset.name == "trees"
    assert [a.path for a in client.list_artifacts(registered.run_id, "bundle")] == ["bundle/note.txt"]
    assert run.info.status == "FINISHED"


def test_the_logged_model_answers_and_carries_its_signature(uri, graph):
    import mlflow

    registered = logged(uri, graph)
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(f"models:/coco/{registered.version}")
    assert loaded.metadata.signature.inputs.input_names() == ["images"]
    answer = loaded.predict({"images": np.array([[-1, 2]], np.float32)})
    assert answer["boxes"].tolist() == [[0, 2]]


def test_a_version_is_found_by_its_tag(uri, graph):
    first = logged(uri, graph, "abc")
    logged(uri, graph, "def")
    assert find_version(uri, "coco", "bundle_version", "abc") == first
    assert find_version(uri, "coco", "bundle_version", "xyz") is None
    assert find_version(uri, "tree-crowns", "bundle_version", "abc") is None


def test_promotion_moves_the_file_and_the_alias(uri, graph, in_tmp):
    folder = in_tmp / "bundles" / "coco"
    folder.mkdir(parents=True)
    for version in ("abc", "def"):
        registered = logged(uri, graph, version)
        promote(uri, registered, folder, Champion(name="coco", version=version, digest="0" * 64))
        assert read_champion(folder).version == version
        served = MlflowClient(uri).get_model_version_by_alias("coco", "champion")
        assert str(served.version) == registered.version
    assert [path.name for path in folder.iterdir()] == ["champion.json"]


def test_metrics_are_flattened_without_nulls_and_texts():
    nested = {
        "test": {"map50": {"value": 0.5, "interval": [0.4, 0.6]}, "reason": "x"},
        "coco": None,
        "ok": True,
        "n": 3,
    }
    assert flat_metrics(nested) == {"test/map50/value": 0.5, "n": 3.0}
