"""Every command of the README runs, in a clone where the whole job has run with `debug=fast`."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.served import served
from tests.e2e.test_own_data import COMMANDS as OWN_DATA

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", README, re.S | re.M)
COMMANDS = [
    line.split(" #")[0].strip() for kind, text in BLOCKS if kind == "bash" for line in text.splitlines() if line.strip()
]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
ELSEWHERE = {
    "make run",  # the fixture has run it, with debug=fast
    "make reader",  # tests/pipelines/reader runs its stages
    "make test",  # is running
    "make serve PORT=3000",  # `service` runs it
    *OWN_DATA,  # test_own_data.py runs them
}
CLIENT = "python -m safelight.client "
PLAIN = [command for command in COMMANDS if command not in ELSEWHERE and not command.startswith(CLIENT)]
CALLS = [command for command in COMMANDS if command.startswith(CLIENT)]


@pytest.fixture(scope="module")
def service(project):
    """What `make serve` starts, on a free port, with the bundles of the fast run."""
    recipe = project.run("make --dry-run serve PORT=3000")
    assert "bentoml serve serving.service:Gateway --host 127.0.0.1 --port 3000" in recipe
    assert "PLAINTEXT" not in recipe
    env = {**project.env, "SAFELIGHT_BUNDLES": "outputs/fast/bundles"}
    with served("serving.service:Gateway", 120, env, project.root) as url:
        yield url


def test_the_readme_shows_what_it_should():
    assert set(COMMANDS) >= ELSEWHERE
    assert len(PLAIN) >= 5 and len(CALLS) >= 2 and len(PYTHON) >= 1


@pytest.mark.parametrize("command", PLAIN)
def test_command(project, command):
    if command.startswith("dvc plots"):  # it reads where the real run writes
        for name in ("train", "evaluate"):
            shutil.copytree(project.root / "outputs/fast" / name, project.root / "outputs" / name, dirs_exist_ok=True)
    if "pipelines." in command and "debug=" not in command:
        command += " debug=fast"
    if "pipelines.tune" in command:
        command += " tune.trials=2"
    project.run(command)


@pytest.mark.parametrize("command", CALLS)
def test_call(project, service, command):
    said = project.run(command.replace(CLIENT, f"{CLIENT}--url {service} "))
    if "--render" in command:
        saved = project.root / shlex.split(command)[-1]
        assert saved.read_bytes().startswith(b"\x89PNG")
    else:
        assert '"counts": {"person": 1}' in said


@pytest.mark.parametrize("code", PYTHON)
def test_python(project, service, code):
    ran = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:3000", service)],
        cwd=project.root,
        env=project.env | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "cat" in ran.stdout
