"""Run, register, promote, roll back and load again, with MLflow on a real PostgreSQL and its files in S3 (moto's server)."""

import boto3
import mlflow
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from safelight.bundle import MODEL, Champion, read_bundle, read_champion, write_bundle
from safelight.errors import RegistryUnavailable
from safelight.signing import signing_key
from tests.serving.graphs import CELL, SIDE, colour_graph, manifest
from tests.training.registry.postgresql_server import PostgresqlServer
from training.registry.aliases import Registry
from training.registry.champions import Champions
from training.registry.entry import enter
from training.registry.promotion import promote, reconcile, roll_back
from training.registry.tracking import close_run, open_run, weights_tag

BUCKET = "models"


@pytest.fixture
def bucket(monkeypatch):
    """An S3 of the test's own, and the environment that points at it."""
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


@pytest.fixture
def database():
    server = PostgresqlServer()
    yield server
    server.stop()


def keys(client):
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


@pytest.mark.postgresql
def test_a_model_goes_through_postgresql_and_s3_and_back(database, bucket, in_tmp):
    uri, root = database.address, f"s3://{BUCKET}/safelight"
    registry, champions = Registry(uri, "coco"), Champions(in_tmp / "coco")
    public = signing_key(in_tmp / "key")
    for name in ("w1", "w2"):
        (in_tmp / name).write_text(name)
    run_id = open_run(uri, "safelight", "a training", weights_tag(in_tmp / "w1"), root)
    close_run(uri, run_id, failed=False)
    moved = []
    for version, graph in (("v1", colour_graph()), ("v2", colour_graph())):
        folder = champions.folder / version
        digest = write_bundle(folder, manifest(version=version), {MODEL: graph}, "# A card", in_tmp / "key")
        bundle = read_bundle(folder, [public])
        weights = in_tmp / version.replace("v", "w")
        entry = enter(registry, "safelight", bundle, folder, weights=weights, artifact_root=root)
        assert enter(registry, "safelight", bundle, folder, weights=weights) == entry
        registry.set_candidate(entry)
        champions.write_receipt(f"{version}.json", "{}")
        promote(champions, registry, Champion(name="coco", version=version, digest=digest), receipt=f"{version}.json")
        moved.append(entry)
    assert moved[0].run_id == run_id and moved[1].run_id != run_id
    assert registry.champion() == moved[1] and registry.pointed("candidate") == moved[1]
    roll_back(champions, registry, [public])
    assert registry.champion() == moved[0] and read_champion(champions.folder).version == "v1"
    assert reconcile(champions, registry) == []
    kept = keys(bucket)
    assert any(key.endswith("model.onnx") for key in kept)
    assert any(key.endswith(f"{run_id}/artifacts/promotion/v1.json") for key in kept)
    assert not (in_tmp / "mlruns").exists()

    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model("models:/coco@champion")
    red = np.zeros((1, 3, SIDE, SIDE), np.float32)
    red[:, 0] = 1
    assert loaded.predict({"images": red})["scores"].shape == (1, CELL * CELL, 2)

    database.stop()
    with pytest.raises(RegistryUnavailable):
        Registry(uri, "coco").check()
    assert read_champion(champions.folder).version == "v1"
