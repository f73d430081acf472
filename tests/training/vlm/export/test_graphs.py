"""The graphs' contract: names, types, free dimensions, one copy of each weight, the same bytes every time."""

import onnx
import pytest

from safelight.reader.manifest import DECODER, EMBEDDING, VISION
from training.vlm.export.architecture import architecture
from training.vlm.export.graphs import OPSET, write_graphs


def shapes(values):
    return {v.name: tuple(d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim) for v in values}


@pytest.fixture
def graph(exported):
    return lambda name: onnx.load(str(exported.folder / name))


def test_the_decoder_s_contract(exported, graph):
    told, found = architecture(exported.base, exported.adapted), graph(DECODER).graph
    cache = {f"{i}.{kind}" for i in range(told.layers) for kind in ("key", "value")}
    plain = {
        "inputs_embeds": ("batch", "new", told.hidden),
        "attention_mask": ("batch", "all"),
        "position_ids": ("batch", "new"),
        "logit_positions": ("batch",),
    }
    past = {f"past_key_values.{name}": ("batch", told.kv_heads, "old", told.head_dim) for name in cache}
    present = {f"present.{name}": ("batch", told.kv_heads, "all", told.head_dim) for name in cache}
    assert shapes(found.input) == plain | past | lora(told, "text_model.")
    assert shapes(found.output) == {"logits": ("batch", told.vocabulary)} | present


def test_the_vision_graph_s_contract(exported, graph):
    told, found = architecture(exported.base, exported.adapted), graph(VISION).graph
    other = lora(told, "vision_model.") | lora(told, "connector.")
    assert shapes(found.input) == {"pixel_values": ("batch", 3, told.image_side, told.image_side)} | other
    assert shapes(found.output) == {"image_features": ("batch", told.image_tokens, told.hidden)}


def test_the_embedding_s_contract(exported, graph):
    told, found = architecture(exported.base, exported.adapted), graph(EMBEDDING).graph
    assert shapes(found.input) == {"input_ids": ("batch", "new")}
    assert shapes(found.output) == {"inputs_embeds": ("batch", "new", told.hidden)}


def lora(told, begin):
    own = {path: sizes for path, sizes in told.adapted.items() if path.startswith(begin)}
    assert own
    return {f"lora.{path}.A": ("rank", i) for path, (i, _) in own.items()} | {
        f"lora.{path}.B": (o, "rank") for path, (_, o) in own.items()
    }


@pytest.mark.parametrize("name", [VISION, EMBEDDING, DECODER])
def test_a_weight_is_there_once_and_nothing_tells_of_where_it_was_made(exported, graph, name):
    model = graph(name)
    assert model.opset_import[0].version == OPSET
    large = [i for i in model.graph.initializer if len(i.raw_data) > 1000]
    assert len({i.raw_data for i in large}) == len(large)
    text = (exported.folder / name).read_bytes()
    assert b".py" not in text and b"/work" not in text and b"/home" not in text
    network = exported.base.model
    parts = {
        DECODER: [network.model.text_model.layers, network.model.text_model.norm, network.lm_head],
        EMBEDDING: [network.lm_head],
        VISION: [network.model.vision_model, network.model.connector],
    }[name]
    sizes = [p.numel() for part in parts for p in part.parameters() if p.ndim > 1]
    assert sum(sizes) <= sum(len(i.raw_data) for i in model.graph.initializer) / 4 < 1.1 * sum(sizes) + 500


def test_the_same_network_makes_the_same_bytes(exported, tmp_path):
    """Two readers share a base only where its graphs are the same file."""
    write_graphs(exported.base.model, exported.adapted, exported.base.image_side, tmp_path, exported.base.views)
    for name in (VISION, EMBEDDING, DECODER):
        assert (tmp_path / name).read_bytes() == (exported.folder / name).read_bytes()
