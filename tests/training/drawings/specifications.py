"""Specifications of drawings for tests: small ones, and those of conf/task."""

from pathlib import Path

import yaml

PLAIN = {
    "rotation": 8, "perspective": 0.03, "width": [0.8, 0.98], "shift": 8, "blur": [0, 0.9], "noise": [0, 7],
    "light": [0.7, 1.15], "gradient": 0.25, "glare": 0.15, "glare_strength": [0.2, 0.5], "contrast": [0.7, 1],
}  # fmt: skip


def task_values(path: Path) -> dict:
    """A task's configuration, interpolations as they stand."""
    return yaml.safe_load(path.read_text())


def small(**counts: int) -> dict:
    """Meters, a few of each split."""
    shares = {"train": 0.7, "validation": 0.1, "test": 0.1, "hard": 0.1}
    return {
        "name": "meters",
        "seed": 4,
        "splits": {
            name: {"count": counts.get(name, 3), "share": share, "difficulty": PLAIN} for name, share in shares.items()
        },
    }
