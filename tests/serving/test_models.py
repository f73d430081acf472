"""Only what is provably right is loaded; the state of the rest is told."""

from __future__ import annotations

import numpy as np
import pytest

from safelight.bundle import MODEL
from safelight.errors import ConfigError, ManifestInvalid, ModelUnavailable, UnknownModel
from safelight.signing import signing_key
from serving.models.loading import catalogue_of
from serving.models.network import open_network
from tests.serving.conftest import encoded, squares
from tests.serving.graphs import LABELS, colour_graph, manifest, promote


def states(catalogue):
    return {name: pool.members[0].state for name, pool in catalogue.pools.items()}


@pytest.fixture
def own(settings, tmp_path, private_key):
    """Settings with bundles of this test's own: coco is right."""
    promote(tmp_path, private_key, name="coco")
    return settings.model_copy(update={"bundles": tmp_path})


def test_models_answer_once_loaded(settings):
    catalogue = catalogue_of(settings)
    assert states(catalogue) == {"coco": "waiting", "tree-crowns": "waiting"} and not catalogue.pool(None).ready
    with pytest.raises(ModelUnavailable):
        catalogue.pool(None).manifest  # noqa: B018
    catalogue.load()
    assert states(catalogue) == {"coco": "ready", "tree-crowns": "ready"} and catalogue.pool(None).ready
    assert catalogue.pool(None).primary.manifest.name == "coco"
    with pytest.raises(UnknownModel):
        catalogue.pool("other")


@pytest.mark.parametrize("name", [MODEL, "manifest.json", "README.md", "model.sig"])
def test_one_flipped_bit_keeps_a_model_out(own, private_key, make_client, name):
    folder = promote(own.bundles, private_key, name="tree-crowns")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    catalogue = catalogue_of(own)
    catalogue.load()
    assert states(catalogue) == {"coco": "ready", "tree-crowns": "failed"}
    client = make_client(own, catalogue)
    assert client.post("/v1/detect?model=tree-crowns", content=encoded(squares())).status_code == 503
    card = client.get("/v1/models").json()["models"][1]
    assert card["state"] == "failed" and card["failure"] and card["version"] is None and card["labels"] is None
    assert str(own.bundles) not in str(card)


def test_another_key_keeps_a_model_out(own, tmp_path):
    stranger = tmp_path / "stranger" / "signing.key"
    signing_key(stranger)
    promote(own.bundles, stranger, name="tree-crowns")
    catalogue = catalogue_of(own)
    catalogue.load()
    assert states(catalogue)["tree-crowns"] == "failed"


def test_without_any_model_nothing_starts(settings, tmp_path):
    with pytest.raises(ConfigError, match=r"coco: .*champion.json.*tree-crowns: "):
        catalogue_of(settings.model_copy(update={"bundles": tmp_path})).load()
    with pytest.raises(ConfigError):
        catalogue_of(settings.model_copy(update={"public_keys": (tmp_path / "absent.pub",)})).load()


def test_models_are_listed(client):
    answer = client.get("/v1/models").json()
    assert answer["default"] == "coco"
    coco = answer["models"][0]
    assert coco["name"] == "coco" and coco["state"] == "ready" and coco["failure"] is None
    assert coco["labels"] == list(LABELS) and coco["task"] == "object-detection" and len(coco["digest"]) == 64
    assert (
        coco["input"]["input_size"] == 64 and coco["thresholds"]["score"] == 0.6 and coco["metrics"] == {"map50": 0.5}
    )


def opened(graph: bytes, **changes: object):
    return open_network(manifest(**changes), graph, threads=1, provider="cpu", warm_batches=(1, 3))


def test_a_network_runs_at_any_batch_size(rng):
    run = opened(colour_graph())
    for size in (1, 2, 8):
        boxes, scores = run(rng.random((size, 3, 64, 64), np.float32))
        assert boxes.shape == (size, 64, 4) and scores.shape == (size, 64, 2)


BOXES = {"name": "boxes", "dtype": "float32", "shape": ("batch", "anchors", 4)}
SCORES = {"name": "scores", "dtype": "float32", "shape": ("batch", "anchors", 2)}
IMAGES = {"name": "images", "dtype": "float32", "shape": ("batch", 3, 64, 64)}


@pytest.mark.parametrize(
    ("graph", "changes"),
    [
        (b"", {}),
        (b"no graph", {}),
        (colour_graph()[:-100], {}),
        (colour_graph(outputs=("boxes", "probabilities")), {}),
        (colour_graph(outputs=("a", "b")), {"outputs": ({**BOXES, "name": "a"}, {**SCORES, "name": "b"})}),
        (colour_graph(), {"outputs": ()}),
        (colour_graph(), {"outputs": (BOXES,)}),
        (colour_graph(), {"outputs": (BOXES, {**SCORES, "shape": ("batch", "anchors", 3)})}),
        (colour_graph(), {"outputs": (BOXES, {**SCORES, "shape": ("batch", 2)})}),
        (colour_graph(), {"input": {**IMAGES, "name": "pixels"}}),
        (colour_graph(side=128), {}),
        (colour_graph(), {"preprocess": {"mode": "letterbox", "input_size": 32}}),
        (colour_graph(), {"labels": ("person", "cat", "dog")}),
        (colour_graph(classes=3), {}),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(graph, changes):
    with pytest.raises(ManifestInvalid):
        opened(graph, **changes)


def test_without_a_threshold_each_class_has_its_own(own, private_key, make_client):
    """Both squares equally dim: a cat's threshold lets its one through, a person's does not."""
    picture = squares(person=(48, 8), cat=(8, 32))
    dim = (picture * 0.6).astype(np.uint8)
    thresholds = {"score": 0.9, "nms_iou": 0.5, "per_class": {"cat": 0.5}}
    promote(own.bundles, private_key, name="coco", thresholds=thresholds)
    client = make_client(own)
    assert client.post("/v1/detect", content=encoded(dim)).json()["counts"] == {"cat": 1}
    assert client.post("/v1/detect?threshold=0.5", content=encoded(dim)).json()["counts"] == {"person": 1, "cat": 1}
    assert client.post("/v1/detect?threshold=0.8", content=encoded(dim)).json()["counts"] == {}
    model = next(m for m in client.get("/v1/models").json()["models"] if m["name"] == "coco")
    assert model["thresholds"] == thresholds
