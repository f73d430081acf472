"""A base's graphs and an adapter's matrices: only those that the manifest promises, and runs that can be ended."""

import threading

import numpy as np
import onnx
import pytest
from safetensors.numpy import load, save

from safelight.errors import ManifestInvalid, ModelUnavailable
from safelight.reader.manifest import DECODER, EMBEDDING, VISION
from serving.reader.adapter import no_matrices, read_matrices
from serving.reader.batch import nothing, step_of, together
from serving.reader.graphs import open_graphs
from tests.serving.reader import tiny


def opened(base, architecture):
    files = {
        name: base.files[file] for name, file in (("vision", VISION), ("embedding", EMBEDDING), ("decoder", DECODER))
    }
    return open_graphs(architecture, **files, threads=1, provider="cpu")


@pytest.mark.parametrize(
    "change",
    [
        {"layers": 3},
        {"kv_heads": 1},
        {"head_dim": 4},
        {"hidden": 16},
        {"vocabulary": 999},
        {"image_side": 64},
        {"image_tokens": 9},
        {"adapted": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_graphs_that_are_not_what_the_manifest_says_are_refused(base, change):
    with pytest.raises(ManifestInvalid):
        opened(base, base.architecture.model_copy(update=change))


def test_a_dimension_that_is_fixed_in_the_graph_is_refused(base):
    graph = onnx.load_from_string(base.files[EMBEDDING])
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ManifestInvalid, match="input_ids does not have the shape"):
        base.graphs(embedding=graph.SerializeToString())


def test_bytes_that_are_no_graph_are_refused(base):
    with pytest.raises(ManifestInvalid):
        base.graphs(decoder=b"no graph")


def changed(base, change):
    held = load(base.adapter_bytes(1))
    change(held, sorted(held)[0])
    return save(held)


@pytest.mark.parametrize(
    "change",
    [
        lambda held, name: held.pop(name),
        lambda held, name: held.update(other=held[name]),
        lambda held, name: held.update({name: held[name][:, :1].copy()}),
        lambda held, name: held.update({name: held[name].astype(np.float16)}),
        lambda held, name: held.update({name: np.full_like(held[name], np.nan)}),
    ],
    ids=["missing", "more", "shape", "type", "not a number"],
)
def test_matrices_that_are_not_the_architectures_are_refused(base, change):
    with pytest.raises(ManifestInvalid):
        read_matrices(changed(base, change), base.architecture, tiny.RANK)


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"\xff" * 64])
def test_bytes_that_are_no_safetensors_are_refused(base, data):
    with pytest.raises(ManifestInvalid, match="not well-formed"):
        read_matrices(data, base.architecture, tiny.RANK)


def test_matrices_of_another_rank_than_the_manifest_says_are_refused(base):
    with pytest.raises(ManifestInvalid):
        read_matrices(base.adapter_bytes(1, rank=8), base.architecture, tiny.RANK)


def test_an_adapter_changes_what_is_seen_and_none_changes_nothing(base):
    graphs, pictures = base.graphs(), tiny.pictures(2)
    none = graphs.features(pictures, no_matrices(base.architecture).vision)
    some = graphs.features(pictures, read_matrices(base.adapter_bytes(1), base.architecture, tiny.RANK).vision)
    zeros = read_matrices(base.adapter_bytes(1, scale=0), base.architecture, tiny.RANK).vision
    assert none.shape == (2, tiny.IMAGE_TOKENS, base.architecture.hidden)
    assert np.abs(none - some).max() > 0.1
    np.testing.assert_array_equal(none, graphs.features(pictures, zeros))


def test_padding_and_columns_that_are_nobodys_change_no_logits(base):
    graphs, matrices = base.graphs(), no_matrices(base.architecture).decoder
    rows = [np.random.default_rng(n).normal(size=(n, 32)).astype(np.float32) for n in (3, 9, 5)]
    alone = []
    for row in rows:
        past = nothing(base.architecture).past
        alone.append(graphs.decode(step_of(past, [row]), past.layers, matrices)[0][0])
    past = together([nothing(base.architecture)] * 3)
    logits, _ = graphs.decode(step_of(past, rows), past.layers, matrices)
    np.testing.assert_allclose(logits, np.stack(alone), atol=1e-4)


def test_a_run_under_way_is_ended_and_later_ones_are_not(base):
    graphs = base.graphs()
    matrices = no_matrices(base.architecture).vision
    raised = []

    def run():
        try:
            graphs.features(np.zeros((20_000, 3, tiny.SIDE, tiny.SIDE), np.float32), matrices)
        except ModelUnavailable as error:
            raised.append(error)

    caller = threading.Thread(target=run)
    caller.start()
    while caller.is_alive():
        graphs.terminate()
    caller.join()
    assert len(raised) == 1
    assert graphs.features(tiny.pictures(1), matrices).shape[0] == 1
    graphs.close()
    with pytest.raises(ModelUnavailable):
        graphs.features(tiny.pictures(1), matrices)
