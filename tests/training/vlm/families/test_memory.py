"""The memory table: sizes that add up to the published ones, an estimate that follows its formula, and a figure measured."""

import subprocess
import sys
from dataclasses import replace

import pytest

from training.vlm.families import FAMILIES, Adaptation
from training.vlm.families.memory import configuration, estimate, skeleton
from training.vlm.families.sizes import SIZES


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sizes_add_up_to_the_published_number_of_parameters(name):
    size = SIZES[name]
    found = estimate(size, Adaptation(), 64)
    published = pytest.approx(size.published, rel=0.07 if name == "qwen3_vl_2b" else 0.03)  # published as "2B"
    assert found.parameters == published


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sides_suit_their_networks(name):
    size = SIZES[name]
    FAMILIES[size.family].check_side(configuration(size), size.side)


def test_estimate_follows_its_formula():
    size, adaptation = SIZES["smolvlm_256m"], Adaptation(rank=8)
    found = estimate(size, adaptation, 64)
    adapters = 30 * 8 * ((576 + 576) * 2 + (576 + 192) * 2 + (576 + 1536) * 3)
    tokens = 64 + 60 + 40
    layers = 30 * tokens * 576 * (34 + 5 * 9 * tokens / 576)
    head = 10 * 41 * 49_280
    assert found.adapters == adapters
    assert found.weights == 2 * found.parameters
    assert found.step == pytest.approx(found.weights + 16 * adapters + layers + head)
    linear = 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536)
    assert found.weights - found.weights_4bit == pytest.approx(linear * (2 - 4.127 / 8))
    assert estimate(size, replace(adaptation, gradient_checkpointing=True), 64).step < found.step


def test_skeletons_take_no_memory():
    assert all(value.is_meta for value in skeleton(SIZES["smolvlm_256m"]).parameters())


def test_measured_in_a_process_of_its_own(folders):
    run = subprocess.run(
        [sys.executable, "-m", "training.vlm.families.memory", str(folders("smolvlm")), "smolvlm"],
        capture_output=True,
        text=True,
        check=True,
    )
    figures = run.stdout.splitlines()[-1].split()
    assert 0.1 < float(figures[0]) <= float(figures[6]) < 8
