"""The decoder in 8 bits: what is quantised, and how near it answers."""

import logging
from collections import Counter

import numpy as np
import onnx
import pytest

from safelight.errors import ConfigError
from safelight.reader.manifest import DECODER
from safelight.reader.picture import to_input
from training.vlm.export.int8 import INT8, Int8, agreement, quantise
from training.vlm.export.running import Graphs
from training.vlm.export.speed import step_ms


@pytest.fixture(scope="module")
def quantised(exported):
    return quantise(exported.folder / DECODER, exported.folder / INT8)


@pytest.fixture
def prompts(exported):
    pictures = np.stack([to_input(p, exported.reader.image_side) for p in exported.pictures])
    ids = exported.reader.prompt_ids(exported.asked.prompt)
    return list(exported.graphs.prompts(pictures, ids, exported.asked.image_token_id, exported.matrices))


def test_every_weight_of_a_product_is_in_8_bits_and_no_lora_matrix(exported, quantised):
    before, after = (onnx.load(str(exported.folder / name)).graph for name in (DECODER, INT8))
    layers = sum(path.startswith("text_model.") for path in exported.adapted)
    kinds = Counter(node.op_type for node in after.node)
    assert kinds["MatMulNBits"] == quantised["nodes"] == layers + 1  # and the head
    assert [i.name for i in before.input] == [i.name for i in after.input]
    assert quantised["bytes"] < (exported.folder / DECODER).stat().st_size


def test_it_answers_nearly_as_the_exact_one(exported, quantised, prompts):
    other = Graphs(exported.folder, INT8, threads=1)
    found = agreement(exported.graphs, other, prompts, exported.asked.end_ids, 24, exported.matrices)
    assert found.pictures == 20 and found.equal >= 0.9 and 0 < found.divergence < 0.02
    alone = agreement(exported.graphs, exported.graphs, prompts, exported.asked.end_ids, 24, exported.matrices)
    assert (alone.equal, alone.divergence) == (1, 0)


def test_another_decoder_is_told_from_it(exported, prompts):
    off = {name: value * np.float32(0.2) for name, value in exported.matrices.items()}

    class Other:
        def greedy(self, *arguments):
            return exported.graphs.greedy(*arguments[:-1], off)

    found = agreement(exported.graphs, Other(), prompts, exported.asked.end_ids, 24, exported.matrices)
    assert found.equal < 0.5 and found.divergence > 0.1


def test_logging_is_left_as_it_was(exported, tmp_path):
    before = logging.root.level, list(logging.root.handlers), logging.root.manager.disable
    quantise(exported.folder / DECODER, tmp_path / INT8)
    assert (logging.root.level, list(logging.root.handlers), logging.root.manager.disable) == before


def test_a_step_is_timed_at_each_batch_size(exported):
    found = step_ms(exported.graphs, exported.matrices, 12, 2)
    assert set(found) == {"1", "4", "8"} and all(0 < value < 1000 for value in found.values())


@pytest.mark.parametrize("values", [(0, 0.9), (10, 1.1), (10, -0.1)])
def test_settings_are_checked(values):
    with pytest.raises(ConfigError):
        Int8(True, *values)
