"""How much memory this process has held at most. Knows nothing of what it did."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The largest resident set of this process since it began, in bytes.

    Linux tells it of the program that runs now; `getrusage`, elsewhere, also of the one that started it before it became this
    one, so that a small process of a large parent looks large.
    """
    if status.is_file() and (found := re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)):
        return 1024 * int(found[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
