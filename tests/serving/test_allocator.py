"""What glibc keeps of the memory that pictures took."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
import ctypes, resource
import numpy as np
from serving.allocator import keep_freed_memory

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(1_600_000, np.uint8)
        np.ones(3 * 416 * 416, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
    print("other")
else:
    before = faults(50)
    assert keep_freed_memory()
    faults(5)
    print(before, faults(50))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is on Linux")
def test_pages_are_not_given_back_and_asked_for_again():
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    if result.stdout.strip() == "other":
        pytest.skip("another C library than glibc")
    before, after = map(int, result.stdout.split())
    assert after < before / 10, f"{before} page faults before, {after} after"
