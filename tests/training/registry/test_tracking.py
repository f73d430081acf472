"""Against a real MLflow on an SQLite file."""

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from safelight.errors import ConfigError, RegistryUnavailable
from training.registry.aliases import Registry
from training.registry.tracking import Lineage, close_run, find_run, flat_metrics, open_run, register, tag_run


def logged(uri, graph, version="abc", weights="w1"):
    run_id = open_run(uri, "safelight", "a run", {"kind": "test", "weights_sha256": weights})
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
        lineage=Lineage(
            tags={"bundle_version": version, "git_commit": "0" * 40},
            metrics={"test/map50": 0.5},
            artifacts=[("bundle", graph.parent / "note.txt")],
            data={"name": "trees", "source": "data/processed/trees", "digest": "d" * 64},
        ),
    )
    close_run(uri, run_id, failed=False)
    return registered


def test_a_registered_model_has_its_lineage_and_no_alias(uri, graph):
    registered = logged(uri, graph)
    client = MlflowClient(uri)
    version = client.get_model_version("coco", registered.version)
    assert (str(version.version), version.run_id) == (registered.version, registered.run_id)
    assert version.tags["bundle_version"] == "abc" and version.tags["git_commit"] == "0" * 40
    run = client.get_run(registered.run_id)
    assert run.data.metrics["test/map50"] == 0.5
    assert run.inputs.dataset_inputs[0].dataset.name == "trees"
    assert [a.path for a in client.list_artifacts(registered.run_id, "bundle")] == ["bundle/note.txt"]
    assert run.info.status == "FINISHED"
    assert client.get_registered_model("coco").aliases == {}


def test_the_logged_model_answers_and_carries_its_signature(uri, graph):
    import mlflow

    registered = logged(uri, graph)
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(f"models:/coco/{registered.version}")
    assert loaded.metadata.signature.inputs.input_names() == ["images"]
    answer = loaded.predict({"images": np.array([[-1, 2]], np.float32)})
    assert answer["boxes"].tolist() == [[0, 2]]


def test_a_run_is_found_by_the_weights_it_made(uri, graph):
    assert find_run(uri, "safelight", {"weights_sha256": "w1"}) is None  # not even the experiment is there
    logged(uri, graph, weights="w1")
    again = logged(uri, graph, weights="w1")
    assert find_run(uri, "safelight", {"weights_sha256": "w1"}) == again.run_id
    assert find_run(uri, "safelight", {"weights_sha256": "w2"}) is None
    tag_run(uri, again.run_id, {"weights_sha256": "w2"})
    assert find_run(uri, "safelight", {"weights_sha256": "w2"}) == again.run_id


def test_entries_are_found_by_bundle_and_aliases_point_at_them(uri, graph):
    registry = Registry(uri, "coco")
    assert registry.find("abc") is None and registry.champion() is None
    first, second = logged(uri, graph, "abc"), logged(uri, graph, "def")
    assert registry.find("abc") == first and registry.find("xyz") is None
    assert Registry(uri, "tree-crowns").find("abc") is None
    registry.set_candidate(second)
    registry.set_champion(first)
    assert (registry.champion(), registry.pointed("candidate")) == (first, second)
    assert registry.pointed("none-such") is None
    registry.set_champion(second)
    assert registry.champion() == second


def test_a_receipt_is_kept_with_the_entry(uri, graph, in_tmp):
    registry, entry = Registry(uri, "coco"), logged(uri, graph)
    (in_tmp / "r.json").write_text("{}")
    registry.keep_receipt(entry, in_tmp / "r.json")
    registry.tag(entry, "promotion", "accepted")
    client = MlflowClient(uri)
    assert [a.path for a in client.list_artifacts(entry.run_id, "promotion")] == ["promotion/r.json"]
    tags = client.get_model_version("coco", entry.version).tags
    assert (tags["promotion"], tags["promotion_receipt"]) == ("accepted", "promotion/r.json")


@pytest.mark.parametrize(
    "address", ["http://someone:secret@127.0.0.1:9", "postgresql+psycopg2://someone:secret@127.0.0.1:9/none"]
)
def test_a_server_that_is_not_there_is_told_at_once_and_without_its_password(address):
    with pytest.raises(RegistryUnavailable, match="MLFLOW_TRACKING_URI") as error:
        Registry(address, "coco").check()
    assert "secret" not in error.value.detail and "someone" not in error.value.detail


def test_a_database_without_its_driver_is_told():
    with pytest.raises(ConfigError, match="postgresql: the driver asyncpg is not installed"):
        Registry("postgresql+asyncpg://someone:secret@127.0.0.1:9/none", "coco").check()


def test_metrics_are_flattened_without_nulls_and_texts():
    nested = {
        "test": {"map50": {"value": 0.5, "interval": [0.4, 0.6]}, "reason": "x"},
        "coco": None,
        "ok": True,
        "n": 3,
    }
    assert flat_metrics(nested) == {"test/map50/value": 0.5, "n": 3.0}
