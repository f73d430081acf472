"""Data files out of package archives, each pinned twice by SHA-256: the archive before it is opened, the file before use.

Knows nothing of which archives a project wants. An archive is resolved on the configured package index (PEP 503/691),
downloaded resumably, opened as a plain zip or tar, and only the files asked for are read; no code of it is installed,
imported or run.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx
from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple

from safelight.errors import FetchError

Progress = Callable[[int, int | None], None]
"""Called with (bytes so far, bytes in all or None)."""


@dataclass(frozen=True)
class PinnedFile:
    """A file inside an archive, where it goes, and its SHA-256 in hex."""

    member: str
    path: Path
    sha256: str

    def present(self) -> bool:
        """Whether the right bytes lie at `path` already."""
        return self.path.is_file() and sha256_of(self.path) == self.sha256


@dataclass(frozen=True)
class PinnedArchive:
    """A file of a project on the package index, its SHA-256 in hex, and what to take out of it."""

    project: str
    filename: str
    sha256: str
    files: Sequence[PinnedFile]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def index_url() -> str:
    """The package index that pip is told to use (PIP_INDEX_URL or pip's configuration), else the public one."""
    configured = os.environ.get("PIP_INDEX_URL") or _pip_configuration().get("global.index-url")
    return configured or PYPI_SIMPLE_ENDPOINT


def resolve(project: str, filename: str, index: str) -> str:
    """The address of one file of a project. Raises FetchError when the index does not have it."""
    try:
        with PyPISimple(endpoint=index) as client:
            page = client.get_project_page(project, timeout=60)
    except NoSuchProjectError:
        raise FetchError(f"The package index has no project {project!r}.") from None
    except OSError as error:  # requests' errors are OSErrors
        raise FetchError(f"The package index did not answer ({type(error).__name__}). Run again.") from None
    for package in page.packages:
        if package.filename == filename:
            return str(package.url)
    raise FetchError(f"{project}: the package index has no file {filename!r}.")


def download(url: str, path: Path, sha256: str, client: httpx.Client, progress: Progress) -> None:
    """Fetch `url` to `path`, going on from `path`.part where an earlier try stopped.

    Raises FetchError when the transfer breaks (run again: it resumes) or the bytes do not have the pinned SHA-256 (they
    are deleted then).
    """
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with client.stream("GET", url, headers=headers, follow_redirects=True) as response:
            if response.status_code not in (200, 206, 416):
                raise FetchError(f"{path.name}: expected the file, the index answered {response.status_code}.")
            if response.status_code == 200:
                have = 0  # the server starts anew
            if response.status_code != 416:  # 416: there is no more, what is there is whole
                _append(response, part, have, progress)
    except httpx.HTTPError as error:
        raise FetchError(f"{path.name}: the transfer broke ({type(error).__name__}). Run again: it resumes.") from None
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise FetchError(f"{path.name}: expected SHA-256 {sha256}, got {found}. It was not opened, and is deleted.")
    part.replace(path)


def extract(archive: Path, sha256: str, files: Sequence[PinnedFile]) -> None:
    """Take `files` out of a .whl, .zip or .tar.gz. Raises FetchError when one of them is not the pinned one."""
    found = sha256_of(archive)
    if found != sha256:
        raise FetchError(f"{archive.name}: expected SHA-256 {sha256}, got {found}. It was not opened.")
    for file in files:
        try:
            data = _read_member(archive, file.member)
        except KeyError:
            raise FetchError(f"{archive.name}: expected a file {file.member!r} in it, found none.") from None
        digest = hashlib.sha256(data).hexdigest()
        if digest != file.sha256:
            raise FetchError(f"{file.member}: expected SHA-256 {file.sha256}, got {digest}.")
        file.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.path.with_name(file.path.name + ".part")
        scratch.write_bytes(data)
        scratch.replace(file.path)


def _append(response: httpx.Response, part: Path, have: int, progress: Progress) -> None:
    length = response.headers.get("content-length")
    total = have + int(length) if length else None
    with part.open("ab" if have else "wb") as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            have += len(chunk)
            progress(have, total)


def _read_member(archive: Path, member: str) -> bytes:
    """Bytes of a regular file in an archive. Raises KeyError when it is not there, or is a link or a folder."""
    if archive.name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as zipped:
            return zipped.read(member)
    with tarfile.open(archive, "r:*") as tarred:
        stream: BinaryIO | None = None
        info = tarred.getmember(member)
        if info.isreg():
            stream = tarred.extractfile(info)  # type: ignore[assignment]
        if stream is None:
            raise KeyError(member)
        return stream.read()


def _pip_configuration() -> dict[str, str]:
    """What `pip config list` says, as a mapping; empty where pip is not at hand."""
    import subprocess
    import sys

    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    pairs = (line.partition("=") for line in listed.stdout.splitlines())
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}
