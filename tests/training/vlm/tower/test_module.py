"""A tower learns what pictures teach, whether it looks at whole pictures or at rows of them."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionTransformer

from training.vlm.tower.beginning import begin, cosines, places
from training.vlm.tower.both import Both
from training.vlm.tower.lessons import NOWHERE, Lesson
from training.vlm.tower.module import TowerModule
from training.vlm.tower.words import NONE, Words

SIDE, PATCH, WIDTH, HIDDEN = 8, 28, 32, 24


class Connector(nn.Module):
    """Four patches to one image token, as SmolVLM's does."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(4 * WIDTH, HIDDEN)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        grid = patches.unflatten(1, (SIDE // 2, 2, SIDE // 2, 2)).transpose(2, 3)
        return self.proj(
            grid.flatten(3).flatten(1, 2).unflatten(2, (1, -1)).flatten(2).reshape(len(patches), -1, 4 * WIDTH)
        )


def module(steps: int = 100, whole: float = 0.5) -> TowerModule:
    torch.manual_seed(0)
    config = SmolVLMVisionConfig(
        hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=SIDE * PATCH, patch_size=PATCH,
    )  # fmt: skip
    config._attn_implementation = "eager"
    tower = SmolVLMVisionTransformer(config)
    begin(tower)
    words = Words(lambda text: [ord(c) for c in text], {"t": [{"/a": "x", "/b": "y"}, {"/a": "z", "/b": "w"}]}, 16)
    return TowerModule(
        tower, Connector(), torch.randn(128, HIDDEN), words,
        learning_rate=0.01, matrix_rate=0.02, weight_decay=0.0, warmup_steps=2, steps=steps, whole=whole,
    )  # fmt: skip


def lesson(learner: TowerModule) -> Lesson:
    """Two pictures that differ, with different words."""
    generator = torch.Generator().manual_seed(1)
    words = torch.full((2, 16), NONE)
    words[:, 4:6] = torch.tensor([[1, 2], [3, 4]])
    names = torch.full((2, 3), NOWHERE)
    names[:, :2] = torch.tensor([0, 1])
    return Lesson(
        torch.randn(2, 3, SIDE * PATCH, SIDE * PATCH, generator=generator),
        words,
        names,
        torch.tensor([[26, 30, 0], [27, 29, 0]]),
        torch.tensor([[1, 2, 0], [3, 4, 0]]),
        torch.rand(2, SIDE**2, 49, generator=generator).round(),
        torch.rand(2, SIDE**2, 2, generator=generator),
    )


def learn(learner: TowerModule, batch: Lesson, steps: int, rows: slice | None) -> list[float]:
    optimiser: Any = learner.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(steps):
        patches, said = learner(batch.picture, rows)
        loss = nn.functional.cross_entropy(said.flatten(0, 1), batch.words.flatten(), ignore_index=NONE)
        loss = loss + sum(learner._of_patches(patches, batch, rows).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("whole", [True, False])
def test_it_learns_by_heart(whole: bool) -> None:
    learner = module()
    batch = lesson(learner)
    rows = None if whole else learner._rows(batch)
    losses = learn(learner, batch, 60, rows)
    assert losses[-1] < 0.3 * losses[0]
    _, said = learner(batch.picture, rows)
    asked = batch.words != NONE
    assert (said.argmax(-1) == batch.words)[asked].all()


def test_rows_reach_from_the_first_thing_to_read_or_word_to_the_last() -> None:
    learner = module()
    batch = lesson(
        learner
    )  # places in row 3 with a row about it, words in the second row of image tokens: rows 2 and 3
    assert learner._rows(batch) == slice(2, 5)
    lower = dataclasses.replace(batch, cells=batch.cells + 3 * SIDE)
    assert learner._rows(lower) == slice(2, 8)


def test_rows_that_are_all_are_the_whole_picture() -> None:
    learner = module()
    pictures = lesson(learner).picture
    with torch.no_grad():
        torch.testing.assert_close(learner(pictures, slice(0, SIDE))[1], learner(pictures)[1])
        patches, _ = learner(pictures, slice(2, 4))
    seen = patches.reshape(2, SIDE, SIDE, WIDTH)
    assert seen[:, 2:4].any() and not seen[:, :2].any() and not seen[:, 4:].any()


def test_two_optimisers_are_one_and_go_on_where_they_were() -> None:
    def fresh() -> tuple[nn.ParameterList, Both]:
        torch.manual_seed(3)
        values = nn.ParameterList([torch.randn(4, 4), torch.randn(4)])
        return values, Both(torch.optim.AdamW([values[1]], 0.1), torch.optim.Muon([values[0]], 0.1))

    def step(values: nn.ParameterList, optimiser: Both) -> None:
        optimiser.zero_grad()
        (values[0] @ values[1]).square().sum().backward()
        optimiser.step()

    values, optimiser = fresh()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda number: 0.5**number)
    step(values, optimiser)
    schedule.step()
    assert [group["lr"] for group in optimiser.param_groups] == [0.05, 0.05]
    kept, weights = copy.deepcopy(optimiser.state_dict()), [value.detach().clone() for value in values]
    step(values, optimiser)

    others, other = fresh()
    for value, weight in zip(others, weights, strict=True):
        value.data.copy_(weight)
    other.load_state_dict(kept)
    assert [group["lr"] for group in other.param_groups] == [0.05, 0.05]
    step(others, other)
    for one, same in zip(values, others, strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0)


def test_what_a_tower_begins_with() -> None:
    filters = cosines(28, 192).flatten(1)
    grey = filters[:144]
    torch.testing.assert_close(grey @ grey.T, torch.eye(144) * grey[0].square().sum(), atol=1e-5, rtol=0)
    assert (filters[144:].reshape(48, 3, -1).sum(1).abs() < 1e-6).all()  # the others do not see grey
    assert len({tuple(row.tolist()) for row in places(12, 192)}) == 144
