"""What the gateway's container runs: secrets from files into place, then BentoML in place of this process.

A variable SAFELIGHT_<NAME>_FILE names a file whose text becomes SAFELIGHT_<NAME>: a Redis URL with its password, say, which
a container's environment would show to everybody who may inspect it. Files that are mounted below /run/safelight are copied
into the state folder with mode 600: an orchestrator's own mounts are readable by a group, and the gateway refuses keys that
are. Knows nothing of the settings themselves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PREFIX, SUFFIX = "SAFELIGHT_", "_FILE"
STATE = Path(".safelight")
MOUNTED = {Path("/run/safelight/state"): STATE, Path("/run/safelight/sealing"): STATE / "sealing"}
SERVE = ["-m", "bentoml", "serve", "serving.service:Gateway"]  # host and port: BENTOML_HOST, BENTOML_PORT


def settled(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with the text of every file that it names, without the end of its line. Ends the process where one cannot
    be read."""
    found = {}
    for name, value in environ.items():
        if name.startswith(PREFIX) and name.endswith(SUFFIX):
            try:
                found[name.removesuffix(SUFFIX)] = Path(value).read_text().rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                sys.exit(f"error: the file that {name} names cannot be read ({type(error).__name__}).")
        else:
            found[name] = value
    return found


def bring(mounted: Path, folder: Path) -> None:
    """Copy the files of `mounted`, if it is there, to `folder`, mode 600. Kubernetes' own links (`..data`) stay behind."""
    for source in sorted(mounted.glob("*")):
        if source.name.startswith("..") or not source.is_file():
            continue
        target = folder / source.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(source.read_bytes())


def main() -> None:
    """Does not return."""
    for mounted, folder in MOUNTED.items():
        bring(mounted, folder)
    os.execve(sys.executable, [sys.executable, *SERVE], settled(os.environ))  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main()
