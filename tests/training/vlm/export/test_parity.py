"""The graphs against transformers' own generate, with PEFT's adapter on top."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from safelight.errors import ParityError
from safelight.reader.picture import to_input
from training.vlm.export.parity import parity, require_equal


def test_an_adapted_reader_is_read_alike_at_every_batch_size_and_padded(exported):
    found = parity(exported.reader, exported.graphs, exported.matrices, exported.pictures, exported.asked)
    require_equal(found)
    assert found.equal == found.pictures == len(exported.pictures)
    assert found.runs == (("batch 1", 16, 16), ("batch 2", 16, 16), ("batch 8", 20, 20), ("padded", 16, 16))
    assert found.tokens > 100 and found.logit_difference < 1e-3
    assert found.to_dict()["first_difference"] is None


def test_the_base_alone_is_what_zeros_make(exported):
    found = parity(exported.base, exported.graphs, None, exported.pictures[:4], exported.asked)
    assert found.logit_difference < 1e-3


def test_the_adapter_is_what_makes_the_answers(exported):
    answers = {g.text for g in exported.reader.generate(exported.pictures, exported.asked.prompt, 24)}
    assert len(answers) > 1  # it looks at the pictures
    with pytest.raises(ParityError, match="parts at token"):
        require_equal(parity(exported.reader, exported.graphs, None, exported.pictures[:4], exported.asked))


def test_a_matrix_that_is_off_is_found(exported):
    off = {
        name: value * np.float32(1.5 if name.endswith("up_proj.B") else 1) for name, value in exported.matrices.items()
    }
    found = parity(exported.reader, exported.graphs, off, exported.pictures[:4], exported.asked)
    assert found.logit_difference > 1e-2


def test_nothing_compared_is_no_proof(exported):
    with pytest.raises(ParityError, match="no picture was compared"):
        require_equal(parity(exported.reader, exported.graphs, exported.matrices, [], exported.asked))


def test_an_answer_that_is_cut_short_is_compared_as_far_as_it_goes(exported):
    short = replace(exported.asked, max_new_tokens=3)
    found = parity(exported.reader, exported.graphs, exported.matrices, exported.pictures[:4], short)
    require_equal(found)
    assert found.tokens == 12


def test_image_features_are_those_of_transformers(exported):
    pictures = np.stack([to_input(p, exported.reader.image_side) for p in exported.pictures[:5]])
    with torch.no_grad():
        expected = exported.base.model.model.get_image_features(torch.from_numpy(pictures)[:, None]).pooler_output
    from training.vlm.export.running import matrices

    vision = exported.graphs.vision
    (found,) = vision.run(None, {"pixel_values": pictures, **matrices(vision, None)})
    np.testing.assert_allclose(found, torch.stack(list(expected)).numpy(), atol=1e-5)
