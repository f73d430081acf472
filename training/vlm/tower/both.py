"""Two optimisers as one, each for parameters of its own. Knows nothing of what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


class Both(Optimizer):
    """first, second: of different parameters. Schedules, clipping and checkpoints see one optimiser with the groups of both."""

    def __init__(self, first: Optimizer, second: Optimizer) -> None:
        self._parts = (first, second)
        super().__init__([*first.param_groups, *second.param_groups], {})
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each; the closure, which computes gradients, runs once."""
        loss = None if closure is None else closure()
        for part in self._parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Of both."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of both."""
        for part, own in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(own)
        self._share()

    def _share(self) -> None:
        """What changes a group here changes it there: they are the same."""
        self.param_groups = [group for part in self._parts for group in part.param_groups]
