"""Counting over all processes that train together, so that a loss is the same however many share a batch.

Knows nothing of Lightning or detection.
"""

from __future__ import annotations

import torch
from torch import distributed


def shared_count(count: int, device: torch.device) -> float:
    """What a process's sum is to be divided by so that the mean over the processes is the sum over all, per item: the items
    of all processes, at least 1, divided by the number of processes. Alone, `count`, at least 1."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return max(count, 1)
    total = torch.tensor(float(count), device=device)
    distributed.all_reduce(total)
    return max(float(total), 1.0) / distributed.get_world_size()
