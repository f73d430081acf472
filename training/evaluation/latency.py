"""How long a look takes on this machine. Knows nothing of which network or runtime it measures.

These are figures of a machine on a day: they are kept beside the report, apart from the metrics, which anyone can
reproduce.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from safelight.postprocess import Run

Clock = Callable[[], float]
WARM_UP = 3


def time_network(run: Run, input_size: int, times: int, clock: Clock) -> list[float]:
    """Seconds of the network alone on one input (batch 1), `times` times, after a warm-up. clock: seconds, monotonic."""
    grey = np.full((1, 3, input_size, input_size), 0.447, np.float32)  # what is seen changes no convolution's time
    for _ in range(WARM_UP):
        run(grey)
    seconds = []
    for _ in range(times):
        begun = clock()
        run(grey)
        seconds.append(clock() - begun)
    return seconds


def summary(seconds: Sequence[float]) -> dict[str, float | int]:
    """p50 and p95 in milliseconds, and of how many. At least one."""
    p50, p95 = np.percentile(np.array(seconds) * 1000, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "count": len(seconds)}


def processor(table: Path = Path("/proc/cpuinfo")) -> str:
    """The model of this machine's processor, as well as the system tells."""
    if table.is_file():
        for line in table.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
