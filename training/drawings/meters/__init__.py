"""Utility meters with a seven-segment display and a plate that names the unit: the second task of the readers.

A `Drawing` (training/drawings/interface.py). Makers, shapes and colours are invented. What it teaches is to read drawn
meters, nothing more: data/meters.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from training.drawings.interface import Drawn
from training.drawings.meters import scene
from training.drawings.meters.difficulty import Difficulty

__all__ = ["UNITS", "draw", "group", "sample"]

UNITS: Mapping[str, tuple[int, ...]] = {"kWh": (0, 1), "MWh": (1, 3), "GJ": (1, 3), "m3": (0, 2, 3)}
"""What a meter may count, and with how many decimals."""

DIGITS = (5, 6, 7)


def sample(rng: np.random.Generator) -> dict[str, Any]:
    """A reading as it is displayed, zeros in front included, and its unit."""
    unit = list(UNITS)[int(rng.integers(len(UNITS)))]
    digits = DIGITS[int(rng.integers(len(DIGITS)))]
    decimals = UNITS[unit][int(rng.integers(len(UNITS[unit])))]
    used = int(rng.integers(3, digits + 1))  # a meter that has counted for long enough has no zeros in front
    shown = str(int(rng.integers(10**used))).zfill(digits)
    return {"reading": f"{shown[:-decimals]}.{shown[-decimals:]}" if decimals else shown, "unit": unit}


def group(answer: Mapping[str, Any]) -> str:
    """The reading, whatever the unit."""
    return str(answer["reading"])


def draw(rng: np.random.Generator, answer: Mapping[str, Any], difficulty: Mapping[str, Any]) -> Drawn:
    """A picture of the meter, and where its digits and its unit are. Raises ConfigError."""
    return scene.picture(rng, answer["reading"], answer["unit"], Difficulty.of(difficulty))
