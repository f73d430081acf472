"""What the images install: exactly what the lock says, all of it, and nothing of training."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from pipelines import requirements
from safelight.errors import ConfigError
from tests.conftest import ROOT

TRAINING = {"torch", "onnx", "onnxscript", "mlflow", "mlflow-skinny", "dvc", "transformers", "pytorch-lightning", "datasets",
            "hydra-core", "omegaconf", "matplotlib", "scipy", "pandas", "scikit-learn", "optuna", "kornia"}  # fmt: skip
ELSEWHERE = {"pillow_heif"}  # an extra, imported where a setting asks for it


def listed(path: Path) -> dict[str, str]:
    """Version by name."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("path", [requirements.GATEWAY, requirements.TRACKING], ids=str)
def test_the_file_is_what_the_lock_says(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = requirements.closure(requirements.wanted()[path], requirements.LOCK)
    assert path.read_text() == requirements.HEADER + "\n".join(lines) + "\n", "run python -m pipelines.requirements"


@pytest.mark.parametrize("path", [requirements.GATEWAY, requirements.TRACKING], ids=str)
def test_every_version_is_the_one_that_is_tested_here(path):
    for name, version in listed(path).items():
        assert distribution(name).version.partition("+")[0] == version


def test_the_gateway_has_nothing_of_training():
    assert not TRAINING & set(listed(requirements.GATEWAY))
    assert "mlflow" in listed(requirements.TRACKING) and "torch" not in listed(requirements.TRACKING)


def test_whatever_the_gateway_imports_is_on_the_list():
    """All imports, those inside functions too, of the code that the image holds."""
    packages = {canonicalize_name(name) for name in listed(requirements.GATEWAY)}
    provided = packages_distributions()
    for path in [*(ROOT / "safelight").rglob("*.py"), *(ROOT / "serving").rglob("*.py")]:
        for top in imported(path) - set(sys.stdlib_module_names) - {"safelight", "serving"} - ELSEWHERE:
            names = {canonicalize_name(name) for name in provided.get(top, [])}
            assert names & packages, f"{path.relative_to(ROOT)} imports {top}: add it to conf/package.yaml"


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_a_package_that_the_lock_lacks_is_an_error(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text("stamina==25.1.0\n")
    with pytest.raises(ConfigError, match="tenacity is not"):  # which stamina needs
        requirements.closure(["stamina"], lock)


def test_of_two_lines_for_one_package_the_one_for_the_image_is_taken(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(
        "filetype==1.2.0 ; sys_platform == 'linux'\nfiletype==9.9.9 ; sys_platform == 'win32'\n# filetype==0.0.1\n"
    )
    assert requirements.closure(["filetype"], lock) == ["filetype==1.2.0"]
