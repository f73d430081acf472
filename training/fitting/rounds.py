"""Rounds: which samples each process takes at each optimiser step.

A round is what Lightning calls an epoch: some optimiser steps and a validation. Step s sees samples s * B to (s + 1) * B - 1
of an endless numbered stream, B being the global batch, however many processes, gradient accumulations or loader workers
share the work. Knows nothing of what a sample is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Sampler

from safelight.errors import ConfigError


@dataclass(frozen=True)
class Rounds:
    """steps: optimiser steps in all. val_every: of them a round has. batch_size: samples a step, over all processes.
    accumulate: backward passes a step. Raises ConfigError when they do not divide."""

    steps: int
    val_every: int
    batch_size: int
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "val_every", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}.")
        if self.steps % self.val_every:
            near = max(1, round(self.steps / self.val_every)) * self.val_every
            raise ConfigError(
                f"steps ({self.steps}) must be a multiple of val_every ({self.val_every}), for example {near}: "
                "a round ends with a validation."
            )

    def share(self, world: int) -> int:
        """Samples of one backward pass of one of `world` processes. Raises ConfigError when they do not divide."""
        parts = self.accumulate * world
        if self.batch_size % parts:
            raise ConfigError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate x processes "
                f"({self.accumulate} x {world} = {parts})."
            )
        return self.batch_size // parts


class RoundSampler(Sampler[list[int]]):
    """The sample numbers of one round for process `rank` of `world`, one list a backward pass. one_batch: those of step 0
    at every step, to see whether a network can learn them."""

    def __init__(self, rounds: Rounds, world: int = 1, rank: int = 0, *, one_batch: bool = False) -> None:
        self._rounds, self._world, self._rank, self._one_batch = rounds, world, rank, one_batch
        self._share = rounds.share(world)
        self._round, self._skip = 0, 0

    def __len__(self) -> int:
        return self._rounds.val_every * self._rounds.accumulate

    def begin(self, steps: int) -> None:
        """The round that begins, or goes on, after so many optimiser steps."""
        self._round = steps // self._rounds.val_every

    def skip(self, batches: int) -> None:
        """Leave out the first batches: they were seen before an interruption. Holds until it is said otherwise, because a
        loader with workers begins twice."""
        self._skip = batches

    def __iter__(self) -> Iterator[list[int]]:
        accumulate, size = self._rounds.accumulate, self._rounds.batch_size
        for batch in range(self._skip, len(self)):
            step, part = divmod(batch, accumulate)
            whole = 0 if self._one_batch else (self._round * self._rounds.val_every + step) * size
            first = whole + (part * self._world + self._rank) * self._share
            yield list(range(first, first + self._share))


class RoundLoader(DataLoader[Any]):
    """A loader that can be interrupted within a round and go on there, as Lightning asks for it (`state_dict`).

    steps_done: how many optimiser steps there have been. It is asked when a pass begins: Lightning tells the round only to
    samplers of single samples, and counts it otherwise after an interruption.
    """

    def __init__(
        self, dataset: Any, sampler: RoundSampler, steps_done: Callable[[], int] = lambda: 0, **options: Any
    ) -> None:
        super().__init__(dataset, batch_sampler=sampler, **options)
        self._steps_done = steps_done
        self._rounds_sampler = sampler
        self._taken = 0
        self._start = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # DataLoader names its own iterator class
        self._rounds_sampler.begin(self._steps_done())
        self._rounds_sampler.skip(self._start)
        self._taken, self._start = self._start, 0
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of the round were taken."""
        return {"taken": self._taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next pass where a former one stopped; after a whole round, at the beginning."""
        self._start = state["taken"] % len(self)
