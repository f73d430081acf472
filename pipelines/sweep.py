"""A grid of jobs (`python -m pipelines.NAME -m key=a,b`): a folder for each, and a table of what came of them.

Hydra starts the jobs, here or on a cluster. Knows nothing of what a job does but the figures in its summary.json.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

JOB = "job.json"
SUMMARY = "sweep.csv"


def job_folder() -> Path | None:
    """The folder of this job, when it is one of several."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().runtime.output_dir)


def keep_apart(cfg: DictConfig, folder: Path) -> None:
    """Let a job write below its own folder what it would write below `paths.outputs`, and its metrics. What jobs share
    (data, base weights, bundles, tracking) stays where it is."""
    outputs = Path(cfg.paths.outputs)
    for key, value in dict(cfg.get("out", {})).items():
        if Path(value).is_relative_to(outputs):
            cfg.out[key] = str(folder / Path(value).relative_to(outputs))
    for key in ("metrics", "seconds"):
        cfg.paths[key] = str(folder / key)


class Summary(Callback):  # type: ignore[misc]  # Hydra has no types
    """Writes each job's overrides into its folder, and when all are done a table of them. Started by conf/common.yaml."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """In the job's process."""
        folder = job_folder()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            told = {"overrides": list(config.hydra.overrides.task), "status": job_return.status.name.lower()}
            (folder / JOB).write_text(json.dumps(told, indent=2) + "\n")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """In the process that started the jobs."""
        folder = Path(config.hydra.sweep.dir)
        rows = summarise(folder)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with (folder / SUMMARY).open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        console = Console(soft_wrap=True, highlight=False)
        console.print(f"{len(rows)} jobs in {folder}")
        table = Table()
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*(_said(row.get(column)) for column in columns))
        console.print(table)


def summarise(folder: Path) -> list[dict[str, Any]]:
    """A row a job: its number, how it ended, the overrides in which jobs differ, and the figures of its summary.json."""
    jobs = {path.parent: json.loads(path.read_text()) for path in folder.glob(f"*/{JOB}")}
    common = set.intersection(*(set(told["overrides"]) for told in jobs.values())) if len(jobs) > 1 else set()
    rows = []
    for job, told in sorted(jobs.items(), key=lambda item: (len(item[0].name), item[0].name)):
        row: dict[str, Any] = {"job": job.name, "status": told["status"]}
        row |= dict(text.lstrip("+").split("=", 1) for text in told["overrides"] if text not in common and "=" in text)
        for result in sorted(job.glob("train/*/summary.json")):
            figures = json.loads(result.read_text())
            row |= {key: value for key, value in figures.items() if isinstance(value, float | int)}
        rows.append(row)
    return rows


def _said(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
