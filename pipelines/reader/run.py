"""run: the main job of `make reader`. The readers' pipeline, then a picture of the test split read over HTTP, then a summary.

Writes `reader/run.json` into the outputs folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from pipelines.models import read_json
from pipelines.registry import settle
from pipelines.run import ensure_bento, run_stages, said_of
from pipelines.served import served
from pipelines.stage import stage, write_json
from safelight.bundle import MANIFEST, read_champion
from safelight.client import Client
from safelight.reader.manifest import ReaderManifest
from training.registry.reader_gates import figure
from training.vlm.records import IMAGE_PATH

READERS = "pipelines/reader/dvc.yaml"
TEST, HARD = "test/constrained", "hard/constrained"


@stage("reader_run")
def main(cfg: DictConfig) -> None:
    """Bring every stage up to date, serve the package, have a picture read, report."""
    outputs = Path(cfg.paths.outputs)
    bento = outputs / "reader/bento.json"
    run_stages(READERS, [])
    ensure_bento(READERS, bento, [])
    settle(cfg, [cfg.name])
    picture, truth = sample(Path(cfg.sample.records))
    wait_s = cfg.sample.ready_timeout_s
    tag = read_json(bento)["tag"]
    with served(tag, wait_s) as url, Client(url, attempts=100, deadline_s=wait_s) as client:
        answer = client.read(picture, model=cfg.name)  # sealed; tried again until the reader is loaded
    report = {
        "model": describe(Path(cfg.paths.bundles) / cfg.name, Path(cfg.paths.metrics) / f"promotion/{cfg.name}.json"),
        "seconds": seconds(Path(cfg.paths.seconds)),
        "sample": {"picture": picture.name, "there": truth, "read": answer.to_dict()},
        "bento": tag,
    }
    write_json(outputs / "reader/run.json", report)
    summarise(report, picture, Console(width=100, soft_wrap=True, highlight=False))


def sample(records: Path) -> tuple[Path, dict[str, Any]]:
    """The picture of the first record, and what stands on it."""
    with records.open(encoding="utf-8") as lines:
        truth: dict[str, Any] = json.loads(next(lines))
    return records.parent / truth.pop(IMAGE_PATH), truth


def describe(model_folder: Path, decision: Path) -> dict[str, Any]:
    """What run.json says of the served reader. decision: the last one on a candidate."""
    champion = read_champion(model_folder)
    manifest = ReaderManifest.model_validate_json((model_folder / champion.version / MANIFEST).read_bytes())
    return {
        **champion.model_dump(),
        "base": manifest.base.model_dump(),
        "metrics": manifest.metrics,
        "parity": manifest.parity,
        "promotion": read_json(decision),
    }


def seconds(folder: Path) -> dict[str, float]:
    """Of the readers' stages, by name."""
    entries = [read_json(path) for path in sorted(folder.glob("reader.*.json"))]
    return {entry["stage"]: entry["seconds"] for entry in entries}


def summarise(report: Mapping[str, Any], picture: Path, console: Console) -> None:
    """The reader, its figures, what it read, and where to look, for a person."""
    model = report["model"]
    console.print(table(model))
    console.print(
        f"{model['name']}: {said_of(model['promotion'])}; base {model['base']['name']} {model['base']['version']}"
    )
    parity = model["parity"]
    console.print(f"The graphs read {parity['equal']} of {parity['pictures']} pictures token for token as torch does.")
    read = report["sample"]["read"]
    fields = {name: value for name, value in read.items() if name in ("keyway", "bitting", "brand", "fields")}
    console.print(f"{picture}, sealed, over HTTP: {json.dumps(fields)} (confidence {read['confidence']:.2f})")
    console.print(f"What stands on it: {json.dumps(report['sample']['there'])}")
    console.print(
        "All figures: metrics/reader.json, outputs/reader/run.json, and outputs/reader/keys/evaluate. It knows only drawn "
        "keys: data/keys.md. Next: make serve, then http://127.0.0.1:3000 (Read), or python -m safelight.client read FILE; "
        "make ui; a task of your own: docs/reader/README.md."
    )


def table(model: Mapping[str, Any]) -> Table:
    """Shares of exact answers and fields on the test and the hard split."""
    made = Table(title=f"{model['name']} {model['version']}: share of pictures read right", title_justify="left")
    for column in ("", "test (95 %)", "hard (95 %)"):
        made.add_column(column, no_wrap=True)
    rows = {"all of it": "exact"}
    held = model["metrics"]["test"]["constrained"]
    rows |= {name: f"fields/{name}/exact" for name in held["fields"]}
    for said, place in rows.items():
        made.add_row(said, *(_interval(model["metrics"], f"{split}/{place}") for split in (TEST, HARD)))
    free = "unconstrained/valid"
    made.add_row("valid, unconstrained", *(_interval(model["metrics"], f"{s}/{free}") for s in ("test", "hard")))
    return made


def _interval(metrics: Mapping[str, Any], place: str) -> str:
    value, low, high = (figure(metrics, f"{place}/{name}") for name in ("value", "low", "high"))
    return "–" if value is None or low is None or high is None else f"{value:.3f} ({low:.2f}–{high:.2f})"


if __name__ == "__main__":
    main()
