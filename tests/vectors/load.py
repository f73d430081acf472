"""Published test vectors: JSON files whose `source` says where they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def published(name: str) -> dict[str, Any]:
    """The vectors of a file here, by its name without suffix; binary values are in hexadecimal."""
    vectors: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    assert vectors["source"]
    return vectors
