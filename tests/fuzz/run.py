"""Coverage-guided fuzzing of the targets of `targets`: `python -m tests.fuzz.run TARGET|all SECONDS`.

Starts from tests/fuzz/corpus/TARGET and keeps what it finds on the way in outputs/fuzz/TARGET. A finding stops it, with the
bytes in a file there: put them into the corpus, where tests/fuzz/test_corpus.py runs them for ever.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOUND = HERE.parent.parent / "outputs" / "fuzz"
NAMES = sorted(folder.name for folder in (HERE / "corpus").iterdir())


def fuzz(name: str, seconds: str) -> None:
    """One target, in this process, which it ends."""
    try:
        import atheris
    except ImportError:
        sys.exit(
            "atheris is not installed: it is there for Linux on x86-64. tests/fuzz/test_corpus.py runs without it."
        )
    with atheris.instrument_imports(include=["safelight.sealing", "email", "json"]):
        from tests.fuzz.targets import MOST_BYTES, TARGETS

    def call(data: bytes) -> None:
        TARGETS[name](data)

    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", "-timeout=5", "-rss_limit_mb=2048"]
    places = [f"-artifact_prefix={found}/finding-", str(found), str(HERE / "corpus" / name)]
    atheris.Setup([sys.argv[0], *limits, *places], call)
    atheris.Fuzz()


def fuzz_all(seconds: str) -> int:
    """Every target in a process of its own; one line each, and what it said where it found something."""
    failed = 0
    for name in NAMES:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.run", name, seconds], capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        runs = re.search(r"^Done (\d+) runs", said, re.MULTILINE)
        if runs is not None and done.returncode == 0:
            print(f"{name:<8} {int(runs[1]):,} runs, nothing found", flush=True)
        else:
            failed = 1
            print(f"{name:<8} stopped:\n{said[-4000:]}", flush=True)
    return failed


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in {*NAMES, "all"} or not sys.argv[2].isdecimal():
        sys.exit(f"Usage: python -m tests.fuzz.run {'|'.join(NAMES)}|all SECONDS")
    if sys.argv[1] == "all":
        sys.exit(fuzz_all(sys.argv[2]))
    fuzz(*sys.argv[1:])
