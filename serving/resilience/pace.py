"""How fast a body has to arrive, so that a sender who dribbles holds nothing for long. Knows nothing of bodies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """within_s: for all of a body. bytes_per_s: the least mean rate, after grace_s have passed, which count for nothing."""

    within_s: float
    bytes_per_s: float
    grace_s: float

    def deadline(self, begun: float, received: int) -> float:
        """Until when more has to be there, once so many bytes are. begun: when the first were waited for; same clock."""
        return begun + min(self.within_s, self.grace_s + received / self.bytes_per_s)

    def __str__(self) -> str:
        return f"{self.bytes_per_s:g} bytes a second after {self.grace_s:g} s, and all within {self.within_s:g} s"
