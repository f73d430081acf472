"""requirements: what the images in deploy/ install, to the last dependency, at the versions of requirements.lock.

    python -m pipelines.requirements

The lock holds everything that Safelight is developed with; an image installs a small part of it. Which part follows from
the metadata of the installed packages, so that no index is asked. Knows nothing of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console

from safelight.errors import ConfigError

LOCK = Path("requirements.lock")
GATEWAY = Path("deploy/requirements.txt")
TRACKING = Path("deploy/mlflow/requirements.txt")
TRACKING_PACKAGES = ("mlflow", "psycopg2-binary")
HEADER = (
    "# Written by python -m pipelines.requirements from requirements.lock: what the image installs, and nothing else.\n"
)

TARGET = {
    "implementation_name": "cpython", "os_name": "posix", "platform_machine": "x86_64", "platform_system": "Linux",
    "platform_python_implementation": "CPython", "python_full_version": "3.11.9", "python_version": "3.11",
    "sys_platform": "linux",
}  # fmt: skip
"""The images' Python and system, which decide on dependencies such as `; sys_platform == 'win32'`."""


def main() -> None:
    """Write every requirements file of deploy/."""
    for path, packages in wanted().items():
        lines = closure(packages, LOCK)
        path.write_text(HEADER + "\n".join(lines) + "\n")
        Console(soft_wrap=True).print(f"requirements: {path} has {len(lines)} packages")


def wanted() -> dict[Path, Sequence[str]]:
    """The packages that each image is for. The gateway's are those of the Bento."""
    packages: list[str] = yaml.safe_load(Path("conf/package.yaml").read_text())["packages"]
    return {GATEWAY: packages, TRACKING: TRACKING_PACKAGES}


def closure(packages: Sequence[str], lock: Path) -> list[str]:
    """`name==version` of `packages` and of all that they need, sorted. Raises ConfigError when one is not in the lock, or
    not installed, so that what it needs cannot be told."""
    pins = dict(_pins(lock))
    waiting = [Requirement(package) for package in packages]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in done:
            continue
        done.add((name, extras))
        if name not in pins:
            raise ConfigError(f"Expected every package in {lock.name}, {name} is not.")
        waiting += _needs(name, extras)
    return sorted({f"{name}=={pins[name]}" for name, _ in done})


def _pins(lock: Path) -> Iterator[tuple[str, str]]:
    """(name, version) of the lock's lines that hold for the images."""
    for line in lock.read_text().splitlines():
        if "==" not in line or line.startswith((" ", "#")):
            continue
        requirement = Requirement(line)
        if _holds(requirement.marker, ""):
            yield canonicalize_name(requirement.name), next(iter(requirement.specifier)).version


def _needs(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    try:
        requires = distribution(name).requires or []
    except PackageNotFoundError:
        raise ConfigError(f"Expected {name} to be installed, to read what it needs. Run make setup first.") from None
    for requirement in map(Requirement, requires):
        if any(_holds(requirement.marker, extra) for extra in extras | {""}):
            yield requirement


def _holds(marker: Marker | None, extra: str) -> bool:
    return marker is None or marker.evaluate(TARGET | {"extra": extra})


if __name__ == "__main__":
    main()
