"""What happens to models while they serve, told to whoever keeps the figures. Knows nothing of how they are kept."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from safelight.drift import Reference

BreakerState = Literal["closed", "open", "half-open"]
Swap = Literal["swapped", "refused", "rolled back"]
Failure = Literal["failed", "too slow", "breaker open", "busy", "not loaded"]


class Observer(Protocol):
    """route: what requests ask for. member: one of the models behind it. All methods are quick, raise nothing, may be called
    from any thread, and are given numbers and pixels that they must not keep."""

    def ran(self, route: str, member: str, size: int, seconds: float) -> None:
        """The network ran once, on `size` inputs. The decoder of a base that readers share: route is the base's name, member
        is `base`."""

    def read(self, route: str, member: str, chosen: int, forced: int) -> None:
        """A reader answered: how many of the tokens the network chose, and how many the schema left no choice of."""

    def queued(self, route: str, member: str, waiting: int) -> None:
        """How many pictures wait for a thread of the model now."""

    def breaker(self, route: str, member: str, state: BreakerState) -> None:
        """The breaker of a model is in this state from now on."""

    def fell_back(self, route: str, member: str, reason: Failure) -> None:
        """A request could not be answered by this model, and the next one was asked."""

    def swapped(self, route: str, member: str, outcome: Swap) -> None:
        """A version took the place of another one, was not taken, or was taken back."""

    def loaded(self, route: str, member: str, ready: bool) -> None:
        """A model can answer, or failed to load."""

    def seen(self, route: str, member: str, view: NDArray[np.uint8], found: Detections) -> None:
        """What a network was given, `(S, S, 3)` uint8 RGB of the first view, and what it found on the whole picture."""

    def expects(self, route: str, member: str, reference: Reference | None) -> None:
        """What `seen` tells of a model is to be compared with this from now on: of another version, or at its first; None
        where its manifest has nothing to compare with."""

    def compared(self, route: str, member: str, agreement: float) -> None:
        """A challenger looked at what the champion answered: the share of boxes on which they agree, 0 to 1."""


class _Nobody:
    def ran(self, route: str, member: str, size: int, seconds: float) -> None: ...

    def read(self, route: str, member: str, chosen: int, forced: int) -> None: ...

    def queued(self, route: str, member: str, waiting: int) -> None: ...

    def breaker(self, route: str, member: str, state: BreakerState) -> None: ...

    def fell_back(self, route: str, member: str, reason: Failure) -> None: ...

    def swapped(self, route: str, member: str, outcome: Swap) -> None: ...

    def loaded(self, route: str, member: str, ready: bool) -> None: ...

    def seen(self, route: str, member: str, view: NDArray[np.uint8], found: Detections) -> None: ...

    def expects(self, route: str, member: str, reference: Reference | None) -> None: ...

    def compared(self, route: str, member: str, agreement: float) -> None: ...


UNOBSERVED: Observer = _Nobody()
"""For those who keep no figures."""
