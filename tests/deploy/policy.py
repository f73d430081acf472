"""What holds for every file of deploy/: how an image is named, and what looks like a secret; and the routes there are."""

from __future__ import annotations

import re

from serving.api.app import PATHS
from serving.front import PLATFORM_PATHS, READY

ROUTES = frozenset({*PATHS, *PLATFORM_PATHS, READY})
"""Everything that the gateway answers, but for its page."""

PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9-]+)?")
"""An image with a version, down to the patch where it is not Debian's or Python's that moves."""

_SECRETS = (
    r"BEGIN [A-Z ]*PRIVATE KEY", r"\bsl_[A-Za-z0-9_-]{20,}", r"\b[0-9a-f]{40,}\b", r"\bAKIA[0-9A-Z]{16}\b",
    r"(?i)(password|secret|token)\s*[:=]\s*['\"]?[A-Za-z0-9+/_-]{12,}['\"]?\s*$",
)  # fmt: skip


def secret_like(text: str) -> list[str]:
    """Places that look like a private key, an API key or a password. A path, a variable and a name in lower case do not."""
    found = [match[0] for pattern in _SECRETS for match in re.finditer(pattern, text, re.MULTILINE)]
    return [one for one in found if not re.search(r"[:=]\s*['\"]?([a-z_-]+|/[a-z/_-]+)['\"]?\s*$", one)]
