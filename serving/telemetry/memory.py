"""How much memory this worker has, and how much it should have at most."""

from __future__ import annotations

from pathlib import Path

import psutil

from serving.settings import Limits

_BYTES_PER_PIXEL = 22  # WebP with transparency, measured; a JPEG needs 10 to 14
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def resident_bytes() -> int:
    """The resident set of this process."""
    return int(psutil.Process().memory_info().rss)


def working_bytes(limits: Limits, models: int) -> int:
    """What requests may need at worst, beside what a worker holds once its models are loaded: what senders hold, and the
    pictures that each of so many models decodes at a time (docs/serving.md, Settings)."""
    return limits.memory_bytes + models * limits.pictures * limits.max_pixels * _BYTES_PER_PIXEL


def allowed_bytes(workers: int, cgroup: Path = _CGROUP) -> int | None:
    """A worker's part of what the container may have (cgroup v2), None where it may have everything."""
    try:
        text = cgroup.read_text().strip()
    except OSError:
        return None
    return int(text) // workers if text.isdigit() else None
