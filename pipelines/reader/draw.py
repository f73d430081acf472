"""draw: the pictures of a task that we draw ourselves, with a JSONL of records for each split.

The folder is replaced whole, when everything is in it. The same configuration draws the same pixels.
"""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress

from pipelines.stage import plain, stage, write_json
from safelight.errors import ConfigError
from training.data.scenes import whole
from training.drawings.drawn import write
from training.drawings.specification import Specification

REPORT = "drawn.json"


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Draw `cfg.task.drawing`."""
    console = Console(soft_wrap=True)
    task = plain(cfg.task)
    if task["drawing"] is None:
        console.print(f"draw: the pictures of {task['name']} are not drawn, nothing to do")
        return
    specification = Specification.of(task["drawing"])
    root = Path(task["records"])
    if root.exists() and not (root / REPORT).is_file() and any(root.iterdir()):
        raise ConfigError("task.records is a folder that this stage did not make. It would be replaced: name another.")
    total = sum(own.count for own in specification.splits.values())
    with whole(root) as folder, Progress(console=console) as bars:
        bar = bars.add_task("draw", total=total)
        digests = write(specification, folder, os.cpu_count() or 1, lambda count: bars.advance(bar, count))
        write_json(folder / REPORT, {"specification": specification.model_dump(mode="json"), "sha256": digests})
    for split, digest in digests.items():
        console.print(f"draw: {specification.splits[split].count:6} pictures  {split:10} {digest}", highlight=False)


if __name__ == "__main__":
    main()
