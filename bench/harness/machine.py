"""The machine and the versions that figures belong to, without a name or a path that says whose it is."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("aws-encryption-sdk", "bentoml", "cryptography", "numpy", "onnxruntime", "pillow", "starlette", "uvicorn")


def raise_priority() -> None:
    """Let this process and its children go before others, where that is allowed."""
    with suppress(PermissionError):
        os.nice(-10)


def describe() -> dict[str, str | int | None]:
    """Processor, cores, memory in GiB, system."""
    processor = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter here."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
