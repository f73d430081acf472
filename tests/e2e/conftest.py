"""A clone of the project in which the whole job has run once, `debug=fast`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAYLOADS = ("data/raw", "data/base_models")


@dataclass(frozen=True)
class Project:
    """root: the clone. env: for its commands. output: what `make run DEBUG=fast` printed, where that has run."""

    root: Path
    env: dict[str, str]
    output: str

    def run(self, command: str, timeout_s: float = 300) -> str:
        """Run a command line in the clone and return what it printed; it must succeed."""
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=self.root,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout


def cloned(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A commit of the working tree as it is, with the raw data, in which nothing has run."""
    if not all((ROOT / payload).is_dir() for payload in PAYLOADS):
        pytest.skip("the raw data is not here: run python -m pipelines.fetch (make test does)")
    clone = tmp_path_factory.mktemp("clone")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    for payload in PAYLOADS:
        shutil.copytree(ROOT / payload, clone / payload, copy_function=os.link, dirs_exist_ok=True)
    (clone / ".venv").symlink_to(sys.prefix)
    for name in ("requirements.lock", "pyproject.toml"):
        os.utime(clone / name, (0, 0))  # or make might find .venv out of date, and install the clone into it
    commit = "git init -q && git add -A && git -c user.name=t -c user.email=t@localhost commit -qm clone"
    subprocess.run(["bash", "-c", commit], cwd=clone, check=True)
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("SAFELIGHT_", "MLFLOW_TRACKING"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BENTOML_HOME": str(tmp_path_factory.mktemp("bentoml")),
        "PYTHONPATH": str(clone),
    }
    return Project(clone, env, "")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    clone = cloned(tmp_path_factory)
    yield replace(clone, output=clone.run("make run DEBUG=fast", timeout_s=900))
    shutil.rmtree(clone.root, ignore_errors=True)
