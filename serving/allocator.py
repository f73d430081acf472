"""How the C library's allocator treats the memory of pictures: it keeps some of it between two requests.

Left alone, glibc gives the megabytes of a decoded picture back to the system as soon as they are freed, and the next request
waits while the kernel hands out and clears as many pages: with pictures of 200 kB that was a tenth of its processor time
(docs/performance.md). Knows nothing of pictures.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
KEPT_BYTES = 32 * 1024 * 1024
"""What each thread's heap may keep at its end, and the size from which a block is the system's again at once. glibc takes no
more than this for the latter."""


def keep_freed_memory() -> bool:
    """From now on, in this process. Whether the allocator did as it was told: another one than glibc's knows its own mind."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    return bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(_MMAP_THRESHOLD, KEPT_BYTES))
