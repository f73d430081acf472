"""How much memory this worker has, and how much it should have at most."""

from __future__ import annotations

from pathlib import Path

import psutil

from serving.settings import Limits

_BYTES_PER_PIXEL = 22  # WebP with transparency, measured; a JPEG needs 10 to 14
_COPIES_OF_A_BODY = 4  # an envelope may be twice a picture, and is held twice while it is opened
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def resident_bytes() -> int:
    """The resident set of this process."""
    return int(psutil.Process().memory_info().rss)


def working_bytes(limits: Limits) -> int:
    """What requests may need at worst, beside what a worker holds once its models are loaded (docs/serving.md, Settings)."""
    bodies = _COPIES_OF_A_BODY * limits.uploads * limits.max_bytes
    return bodies + limits.pictures * (limits.max_bytes + limits.max_pixels * _BYTES_PER_PIXEL)


def allowed_bytes(workers: int, cgroup: Path = _CGROUP) -> int | None:
    """A worker's part of what the container may have (cgroup v2), None where it may have everything."""
    try:
        text = cgroup.read_text().strip()
    except OSError:
        return None
    return int(text) // workers if text.isdigit() else None
