"""Whether a cheaper way to nearly the same answers is good enough, and how much cheaper it is.

Knows nothing of graphs or pictures: it is given two figures, or functions to call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """reason: why it is refused, or cannot be judged; None when it is accepted. gate: the figures."""

    reason: str | None
    gate: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether it may be served."""
        return self.reason is None


def judge(before: float, after: float, most: float) -> Verdict:
    """Whether mAP50 on validation data may fall from `before` to `after` when it may fall by at most `most`.

    A model that has less than `most` to lose cannot fail, so it does not pass either.
    """
    gate = {"metric": "val map50", "before": before, "after": after, "drop": before - after, "allowed": most}
    if before <= most:
        return Verdict(f"mAP50 is {before:.4f}: with so little to lose the gate could not fail", gate)
    if before - after > most:
        return Verdict(f"mAP50 falls from {before:.4f} to {after:.4f}, more than {most}", gate)
    return Verdict(None, gate)


def medians(
    actions: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median milliseconds of each action. They take turns, so that a busy machine slows all alike; the first round is a
    rehearsal."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(repeats + 1):
        for name, act in actions.items():
            started = clock()
            act()
            if turn:
                taken[name].append((clock() - started) * 1000)
    return {name: median(times) for name, times in taken.items()}
