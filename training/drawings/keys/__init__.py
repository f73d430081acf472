"""Keys of common cylinder locks, drawn by the numbers of their systems: the blade, its cuts, warding and a stamp.

A `Drawing` (training/drawings/interface.py). What it teaches is to read drawn keys, nothing more: data/keys.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from training.drawings.interface import Drawn
from training.drawings.keys import scene
from training.drawings.keys.difficulty import Difficulty
from training.drawings.keys.systems import systems

__all__ = ["draw", "group", "sample"]


def sample(rng: np.random.Generator) -> dict[str, Any]:
    """A key: its keyway, its bitting from bow to tip, and the brand that is stamped on it."""
    names = list(systems())
    keyway = names[int(rng.integers(len(names)))]
    system = systems()[keyway]
    brand = system.invented.brands[int(rng.integers(len(system.invented.brands)))]
    return {"keyway": keyway, "bittings": system.sample(rng), "brand": brand}


def group(answer: Mapping[str, Any]) -> str:
    """The bitting, whatever the keyway."""
    return "-".join(map(str, answer["bittings"]))


def draw(rng: np.random.Generator, answer: Mapping[str, Any], difficulty: Mapping[str, Any]) -> Drawn:
    """A picture of the key, and where its warding, its cuts and its stamp are. Raises ConfigError."""
    system = systems()[answer["keyway"]]
    return scene.picture(rng, system, answer["bittings"], answer["brand"], Difficulty.of(difficulty))
