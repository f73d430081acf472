"""run: the main job of `make run`. The whole pipeline, then boxes for a real photograph over HTTP, then a summary.

Writes `run.json` and `sample.png` into the outputs folder.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx
from dvc.repo import Repo
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from pipelines.models import read_json
from pipelines.registry import settle
from pipelines.served import served
from pipelines.stage import stage, write_json
from safelight.bundle import MANIFEST, Manifest, read_champion
from safelight.client import Client
from safelight.errors import SafelightError

DETECTORS = "dvc.yaml"


class StageFailed(SafelightError):
    """A stage ended with an error; its own message stands above."""

    title = "A stage failed"


@stage("run")
def main(cfg: DictConfig) -> None:
    """Bring every stage up to date, serve the package, find the boxes on `cfg.sample.photo`, report."""
    outputs = Path(cfg.paths.outputs)
    run_stages(DETECTORS, list(cfg.stage_overrides))
    ensure_bento(DETECTORS, outputs / "bento.json", list(cfg.stage_overrides))
    settle(cfg, list(cfg.models))
    tag = read_json(outputs / "bento.json")["tag"]
    photo = Path(cfg.sample.photo)
    with served(tag, cfg.sample.ready_timeout_s) as url, Client(url) as client:
        answer = client.detect(photo, model=cfg.sample.model)
        (outputs / "sample.png").write_bytes(client.render(photo, model=cfg.sample.model))
    report = {
        "models": [
            describe(Path(cfg.paths.bundles) / name, Path(cfg.paths.metrics) / "promotion" / f"{name}.json")
            for name in cfg.models
        ],
        "seconds": {
            entry["stage"]: entry["seconds"] for entry in map(read_json, Path(cfg.paths.seconds).glob("*.json"))
        },
        "sample": {"photo": photo.name, **answer.to_dict()},
        "bento": tag,
    }
    write_json(outputs / "run.json", report)
    summarise(report, outputs, Console(width=100))


def run_stages(pipeline: str, overrides: list[str]) -> None:
    """Run the stages that are out of date, through DVC; or all of them with `overrides`, of which DVC must not know.

    pipeline: the dvc.yaml, from the project's root. Raises StageFailed.
    """
    if not overrides:
        if subprocess.run([sys.executable, "-m", "dvc", "repro", pipeline], check=False).returncode:
            raise StageFailed("dvc repro ended with an error; the message of the stage stands above.")
        return
    for entry in stages_of(pipeline):
        command = [*shlex.split(entry.cmd), *overrides]
        if subprocess.run([sys.executable, *command[1:]], check=False).returncode:
            raise StageFailed(f"{entry.addressing} ended with an error; its message stands above.")


def stages_of(pipeline: str) -> list[Any]:
    """DVC's stages of one dvc.yaml, each after those that it needs."""
    with Repo() as repo:
        ordered = networkx.dfs_postorder_nodes(repo.index.graph)
        return [stage for stage in ordered if stage.dvcfile.relpath == pipeline]


def ensure_bento(pipeline: str, written: Path, overrides: list[str]) -> None:
    """Package again when the Bento is gone from BentoML's own store, which DVC does not watch. written: by the package stage,
    the last of the pipeline."""
    tag = read_json(written)["tag"]
    found = subprocess.run([sys.executable, "-m", "bentoml", "get", tag], capture_output=True, check=False)
    if found.returncode:
        (stage,) = (one for one in stages_of(pipeline) if one.name == "package")
        again = ["-m", "dvc", "repro", "-f", "-s", stage.addressing]
        if subprocess.run(
            [sys.executable, *(shlex.split(stage.cmd)[1:] + overrides if overrides else again)], check=False
        ).returncode:
            raise StageFailed("package ended with an error; its message stands above.")


def describe(model_folder: Path, decision: Path) -> dict[str, Any]:
    """What run.json says of a served model. decision: the last one on a candidate."""
    champion = read_champion(model_folder)
    manifest = Manifest.model_validate_json((model_folder / champion.version / MANIFEST).read_bytes())
    return {
        "name": champion.name,
        "version": champion.version,
        "digest": champion.digest,
        "metrics": manifest.metrics,
        "parity": manifest.parity,
        "promotion": read_json(decision),
    }


def summarise(report: dict[str, Any], outputs: Path, console: Console) -> None:
    """Models, metrics, and where to look, for a person."""
    table = Table(title="Models served", title_justify="left")
    for column in ("model", "version", "test mAP50 (95 %)", "precision", "recall", "ONNX drift"):
        table.add_column(column, no_wrap=True)
    for model in report["models"]:
        test = model["metrics"]["test"] or {}
        drift = max(entry["score"] for entry in model["parity"]["tensors"].values())
        figures = [f"{test[name]['value']:.2f}" if test else "–" for name in ("precision", "recall")]
        table.add_row(model["name"], model["version"], _interval(test.get("map50")), *figures, f"{drift:.0e}")
    console.print(table)
    for model in report["models"]:
        console.print(f"{model['name']}: {said_of(model['promotion'])}", highlight=False)
        if model["metrics"].get("reason"):
            console.print(f"{model['name']}: {model['metrics']['reason']}")
    found = ", ".join(f"{count} {label}" for label, count in report["sample"]["counts"].items()) or "nothing"
    console.print(f"Sample photograph, over HTTP: {found}. Look at {outputs / 'sample.png'}.")
    console.print(f"All figures: {outputs / 'run.json'}. Next: make serve, make ui, dvc metrics show, dvc plots show.")


def said_of(decision: dict[str, Any]) -> str:
    """The last decision on a candidate, in a line: which gates refused, or what it was compared with."""
    if decision["decision"] == "accepted":
        return (
            f"{decision['version']} was promoted {'over ' + decision['champion'] if decision['champion'] else 'first'}"
        )
    refusals = [f"{gate}: {e.get('said', 'over budget')}" for gate, e in decision["gates"].items() if not e["passed"]]
    return f"{decision['version']} was refused, {decision['champion']} stays ({'; '.join(refusals)})"


def _interval(estimate: dict[str, float] | None) -> str:
    """A figure with its interval, or a dash where nothing was measured."""
    return f"{estimate['value']:.3f} ({estimate['low']:.2f}–{estimate['high']:.2f})" if estimate else "–"


if __name__ == "__main__":
    main()
