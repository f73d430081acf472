"""The outline of a key, as points in thousandths of an inch: x from the shoulder to the tip, y up from the straight edge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.drawings.keys.systems import SLOPE, TIP_HEIGHT, TIP_SLOPE, System

Points = NDArray[np.float64]
BOW = 430.0  # how much of the bow is seen, invented


def profile(system: System, depths: Sequence[int], wear: float) -> Points:
    """The cut edge of the blade, `(P, 2)`, shoulder to tip. wear: how much edges are rounded, thousandths of an inch."""
    xs = np.linspace(0.0, system.length, 400)
    ys = np.full_like(xs, system.blade)
    for i, depth in enumerate(depths):
        away = np.abs(xs - (system.first + i * system.spacing)) - system.invented.flat / 2
        ys = np.minimum(ys, system.root(depth) + np.maximum(away, 0.0) * SLOPE)
    ys = np.minimum(ys, TIP_HEIGHT * system.blade + (system.length - xs) * TIP_SLOPE)
    if wear > 0:
        width = max(1, round(wear / (xs[1] - xs[0])))
        ys = np.convolve(np.pad(ys, width, mode="edge"), np.full(2 * width + 1, 1 / (2 * width + 1)), mode="valid")
    return np.stack([xs, ys], axis=1)


def blade(system: System, edge: Points) -> Points:
    """The blade's outline, closed by the straight edge with a bevel at the tip."""
    bevel = 0.22 * system.blade
    return np.concatenate(
        [edge, [[system.length, bevel], [system.length - bevel, 0.0], [-30.0, 0.0], [-30.0, edge[0, 1]]]]
    )


def bow(system: System, kind: int) -> Points:
    """The part of the bow that is seen, left of the shoulder. kind: 0 round, 1 square, 2 six-sided; all invented."""
    middle, half = system.blade / 2, 300.0
    if kind == 0:
        turn = np.linspace(np.arcsin(0.6), 2 * np.pi - np.arcsin(0.6), 60)
        return np.stack([-half * 1.02 + 1.15 * half * np.cos(turn), middle + half * np.sin(turn)], axis=1)
    if kind == 1:
        corners = [(0, -0.62), (0, 0.62), (-60, 0.95), (-2 * half, 1.0), (-2 * half, -1.0), (-60, -0.95)]
    else:
        corners = [
            (0, -0.55),
            (0, 0.55),
            (-150, 1.02),
            (-480, 1.02),
            (-2 * half, 0.5),
            (-2 * half, -0.5),
            (-480, -1.02),
            (-150, -1.02),
        ]
    return np.array([(x, middle + share * half) for x, share in corners], float)
