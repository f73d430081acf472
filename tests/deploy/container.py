"""A container without a container engine: namespaces, a read-only root, and what deploy/Dockerfile says of the image.

The root holds the system's own folders, a Python with the packages of deploy/requirements.txt and no other, and the files
that the Dockerfile copies. The command runs as the image's user, as process 1 of its own, without capabilities, without a
shell to be found, in the image's environment; only /tmp and the state folder can be written. The network is shared.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT
from tests.deploy.dockerfile import Instruction, command, copies, environment, last_stage

USER = 10001
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc")
SHELLS = ("/usr/bin/sh", "/usr/bin/dash", "/usr/bin/bash", "/bin/sh", "/bin/bash", "/bin/dash")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


@functools.cache
def missing() -> str | None:
    """Why no container can be made here, if so."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces and mounts need root on Linux"
    for tool in ("unshare", "setpriv", "nsenter", "chroot", "mount"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"],
                           capture_output=True, check=False)  # fmt: skip
    return None if tried.returncode == 0 else "this machine lets nobody make namespaces and mounts"


INSTALLED = Path("/opt/installed")
"""Where the packages of this environment are to be seen inside, wherever it is: its own path may be below /tmp."""


def install(folder: Path, requirements: Path) -> Path:
    """A virtual environment in `folder` with the packages of a requirements file, as links to the installed ones."""
    names = [line.partition("==")[0] for line in requirements.read_text().splitlines() if "==" in line]
    place = folder / "lib" / Path(sysconfig.get_path("purelib")).parent.name
    packages = place / "site-packages"
    made: set[Path] = set()
    for name in names:
        for file in importlib.metadata.distribution(name).files or []:
            target = packages / file
            if file.parts[0] == ".." or target.suffix == ".pth" or target.is_symlink():
                continue
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            target.symlink_to(INSTALLED / file)
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(Path(sys.executable).resolve())
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    return folder


@dataclass
class Container:
    """An image laid out in `root` (an empty folder). packages: the virtual environment. state, bundles, keys: folders of
    this machine; only the first can be written."""

    root: Path
    packages: Path
    state: Path
    bundles: Path
    keys: Path
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, log: Path, extra: Sequence[tuple[Path, str]] = ()) -> subprocess.Popen[bytes]:
        """Start what ENTRYPOINT names. extra: more folders, and where they are to be seen."""
        stage = last_stage()
        mounts = [(Path(path), path) for path in SYSTEM if Path(path).exists()]
        python = Path(sys.base_prefix).resolve()
        if not any(python.is_relative_to(path) for path in SYSTEM):
            mounts.append((python, str(python)))
        mounts.append((Path(sysconfig.get_path("purelib")), str(INSTALLED)))
        mounts += [(self.packages, "/opt/safelight"), (self.bundles, "/bundles"), (self.keys, "/keys"), *extra]
        image = self.root.with_name(self.root.name + "-app")
        for source, target in copies(stage):
            inside = image / Path(target).relative_to("/app")
            shutil.copytree(ROOT / source, inside, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        (image / ".safelight").mkdir()
        mounts.append((image, "/app"))
        script = [*self._mounted(mounts), *self._sealed()]
        words = [*self._inside(stage), *command(stage, "ENTRYPOINT")]
        drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
                "--bounding-set=-all", "--inh-caps=-all"]  # fmt: skip
        script.append('root=$1; shift; exec chroot "$root" "$@"')
        shutil.chown(self.state, USER, USER)
        with log.open("wb") as file:
            return subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
                 "sh", "-euc", "\n".join(script), "sh", str(self.root), *drop, *words],
                stdout=file, stderr=file,
            )  # fmt: skip

    def health(self, inside: int) -> int:
        """The exit status of the image's HEALTHCHECK, run beside process `inside`."""
        stage = last_stage()
        words = self._inside(stage)
        enter = ["nsenter", f"--target={inside}", "--mount", "--root", "--wd"]
        drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
        ran = subprocess.run([*enter, *drop, *words, *command(stage, "HEALTHCHECK")], timeout=30, check=False)
        return ran.returncode

    def _inside(self, stage: list[Instruction]) -> list[str]:
        """The command that runs another in the image's folder and environment."""
        (folder,) = (one.text for one in stage if one.name == "WORKDIR")
        return ["env", "-i", f"--chdir={folder}", *(f"{n}={v}" for n, v in (environment(stage) | self.environ).items())]

    def _mounted(self, mounts: Sequence[tuple[Path, str]]) -> list[str]:
        lines = [f"mount -t tmpfs -o mode=755 tmpfs {self.root}"]
        for source, target in sorted(mounts, key=lambda pair: pair[1].count("/")):
            place = f"{self.root}{target}"
            lines += [f"mkdir -p {place}", f"mount --bind {source} {place}", f"mount -o remount,bind,ro {place}"]
        return lines

    def _sealed(self) -> list[str]:
        """/proc, /dev, the two places that can be written, and everything else no longer."""
        root, lines = self.root, [f"mkdir -p {self.root}/tmp {self.root}/proc {self.root}/dev/shm"]
        lines += [f"touch {root}{device}; mount --bind {device} {root}{device}" for device in DEVICES]
        lines += [
            f"mount -t proc proc {root}/proc",
            f"mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev,noexec tmpfs {root}/tmp",
            f"mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev,noexec tmpfs {root}/dev/shm",
            f"mount --bind {self.state} {root}/app/.safelight",
            f"mount -o remount,ro {root}",
        ]
        for shell in dict.fromkeys(str(Path(shell).resolve()) for shell in SHELLS if Path(shell).exists()):
            lines.append(f"mount --bind /dev/null {root}{shell}; mount -o remount,bind,ro {root}{shell}")
        return lines
