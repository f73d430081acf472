"""prepare: annotated pictures of any known format to one internal form, checked, split, reported.

Bad records are quarantined, counted and reported in `report.json` and `report.html` beside the splits; too many of them is
an error. The folder of a prepared data set is replaced whole, when everything is in it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import track

from pipelines.stage import plain, stage, write_json
from safelight.errors import ConfigError, DataError
from training.data import formats, hub, voc
from training.data.card import card
from training.data.check import checked, reasons
from training.data.duplicates import Pair, pairs
from training.data.page import page
from training.data.parting import Parting, SplitRules, named, parted
from training.data.records import Candidate, Found, Listing, Rules
from training.data.scenes import whole, write_split
from training.data.summary import summary

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@stage("train")
def main(cfg: DictConfig) -> None:
    """Prepare `cfg.data`."""
    prepare(cfg)


def prepare(cfg: DictConfig) -> None:
    """Prepare `cfg.data`: list its records, check them, part them into splits, write splits and report."""
    console = Console(soft_wrap=True)
    if not cfg.data.labelled:
        console.print(f"prepare: {cfg.data.name} has no labelled data, nothing to do")
        return
    data = plain(cfg.data)
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # our own limit is data.max_pixels
    found = checked(SOURCES[data["source"]](data), _rules(data), lambda records: track(records, "prepare"))
    if not found.labels or not any(scene.boxes for scene in found.scenes):
        aside = f"; set aside: {reasons(found.quarantined)}" if found.quarantined else ""
        raise DataError(f"Expected pictures with at least one good box, found {len(found.scenes)} without any{aside}.")
    near = pairs([scene.looks for scene in found.scenes if scene.looks is not None], data["near_duplicate_bits"])
    report = write(data, found, near, _parting(data, found, near))
    for line in said(data, report):
        console.print(line, highlight=False)


def write(data: Mapping[str, Any], found: Found, near: Sequence[Pair], parting: Parting) -> dict[str, Any]:
    """The prepared folder, whole or not at all: a split each, report.json, report.html and, for data without a card of
    their own, card.md. Returns the report."""
    root = Path(data["processed"])
    if root.exists() and not (root / "report.json").is_file() and any(root.iterdir()):
        raise ConfigError(
            "data.processed is a folder that this stage did not make. It would be replaced: name another."
        )
    with whole(root) as folder:
        digests = {
            split: write_split(part, found.labels, folder / split, data["max_pixels"])
            for split, part in parting.parts.items()
        }
        report = summary(data["name"], found, parting, near, digests, data["private"])
        write_json(folder / "report.json", report)
        (folder / "report.html").write_text(page(report, parting.parts), "utf-8")
        if data["source"] != "scenes":
            (folder / "card.md").write_text(card(report, data["private"]), "utf-8")
    return report


def said(data: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """What came of it, in lines for a person."""
    bad = sum(q["bad"] for q in report["quarantined"])
    aside = len(report["quarantined"]) - bad
    lines = [
        f"prepare: {report['name']}, format {report['format']} ({report['format_because']})",
        f"  {report['records']} records, {bad} quarantined, {aside} left out on purpose {report['reasons'] or ''}".rstrip(),
        f"  splits {report['splits_because']}",
    ]
    for split, entry in report["splits"].items():
        lines.append(f"  {split:5} {entry['boxes']:6} boxes on {len(entry['scenes'])} pictures")
    across = report["duplicates"]["exact_across"] + report["duplicates"]["near_across"]
    if across:
        lines.append(f"  {across} pairs of near-duplicates across splits")
    lines.append(f"  report: {Path(data['processed']) / 'report.html'}")
    return lines


def _rules(data: Mapping[str, Any]) -> Rules:
    try:
        return Rules(
            data["labels"], data["class_map"], data["max_overhang"], data["max_pixels"], data["max_quarantined"]
        )
    except ValueError as error:
        raise ConfigError(f"data: {error}.") from None


def _parting(data: Mapping[str, Any], found: Found, near: Sequence[Pair]) -> Parting:
    if data["source"] == "scenes":
        return named(found, data["splits"], data["min_visible"])
    try:
        rules = SplitRules(**data["split"])
    except ValueError as error:
        raise ConfigError(f"data.split: {error}.") from None
    return parted(found, near, rules)


def _scenes(data: Mapping[str, Any]) -> Listing:
    """Every scene that a split of the configuration names, each once: Pascal VOC files beside pictures."""
    names = dict.fromkeys(part["scene"] for parts in data["splits"].values() for part in parts)
    candidates: list[Candidate] = []
    for name in names:
        picture = _picture(Path(data["folder"]), name)
        candidates.append(voc.candidate(picture, picture.with_suffix(".xml")))
    return Listing(voc.NAME, "XML files beside the pictures that the configuration names", (), candidates)


def _folder(data: Mapping[str, Any]) -> Listing:
    """Somebody's folder, in whichever known format."""
    _check_name(data["name"])
    if data["path"] is None:
        raise ConfigError("Expected a folder of pictures and annotations: say data.path=FOLDER.")
    return formats.read(Path(data["path"]), data["format"], _columns(data))


def _hub(data: Mapping[str, Any]) -> Listing:
    """A data set of the hub, at a commit."""
    _check_name(data["name"])
    if data["id"] is None:
        raise ConfigError("Expected a data set of the hub: say data.id=OWNER/NAME and data.revision=COMMIT.")
    return hub.read_hub(data["id"], data["revision"], data["subset"], _columns(data))


SOURCES: Mapping[str, Callable[[Mapping[str, Any]], Listing]] = {"scenes": _scenes, "folder": _folder, "hub": _hub}
"""Where records come from, by data.source."""


def _columns(data: Mapping[str, Any]) -> hub.Columns:
    try:
        return hub.Columns(**data["columns"])
    except ValueError as error:
        raise ConfigError(f"data.columns: {error}.") from None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name: expected letters, digits, dots, dashes and underscores, got {name!r}.")


def _picture(folder: Path, name: str) -> Path:
    found = [path for suffix in (".png", ".jpg", ".jpeg", ".tif") if (path := folder / f"{name}{suffix}").is_file()]
    if not found:
        raise DataError(
            f"Expected a picture {name}.png, .jpg, .jpeg or .tif in {folder}, found none. Run the fetch stage first."
        )
    return found[0]


if __name__ == "__main__":
    main()
