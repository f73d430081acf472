"""What one would answer without looking: each property's most frequent value. Knows nothing of pictures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def majority(answers: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> dict[str, Any]:
    """Of each property the value that most answers give it; of equally many the one that JSON sorts first. A property that
    most answers lack is left out. The answer as a whole need not be one that any record gives."""
    found = {}
    for name in fields:
        counts = Counter(json.dumps(one[name], sort_keys=True) for one in answers if name in one)
        if counts and 2 * counts.total() >= len(answers):
            text, _ = min(counts.items(), key=lambda item: (-item[1], item[0]))
            found[name] = json.loads(text)
    return found
