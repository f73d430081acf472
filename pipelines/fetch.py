"""fetch: bring the raw data and the base weights, every byte pinned.

Run again at any time: files that are right stay, archives resume where they stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pipelines.stage import stage
from training.data.archives import PinnedArchive, PinnedFile, download, extract, index_url, resolve


def fetch(cfg: DictConfig) -> None:
    """Fetch every archive of the configuration whose files are not all there."""
    archives = [
        PinnedArchive(a.project, a.filename, a.sha256, [PinnedFile(f.member, Path(f.path), f.sha256) for f in a.files])
        for a in cfg.archives
    ]
    console = Console(soft_wrap=True)
    missing = [archive for archive in archives if not all(file.present() for file in archive.files)]
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with httpx.Client(timeout=cfg.timeout_s) as client, Progress(*columns, console=console) as bars:
        for archive in missing:
            path = Path(cfg.downloads) / archive.filename
            if not path.exists():
                url = resolve(archive.project, archive.filename, index_url())
                download(url, path, archive.sha256, client, _bar(bars, archive.project))
            extract(path, archive.sha256, archive.files)
            if not cfg.keep_downloads:
                path.unlink()
    files = sum(len(archive.files) for archive in archives)
    console.print(f"fetch: {files} files from {len(archives)} archives in place ({len(missing)} archives fetched now)")


def _bar(bars: Progress, name: str) -> Callable[[int, int | None], None]:
    task = bars.add_task(name, total=None)
    return lambda have, total: bars.update(task, completed=have, total=total)


main = stage("fetch")(fetch)

if __name__ == "__main__":
    main()
