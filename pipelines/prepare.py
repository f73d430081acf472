"""prepare: annotations of the raw data to one internal form, checked, split by scene.

Bad records are quarantined, counted and reported in `report.json` beside the splits; too many of them is an error.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from pipelines.stage import plain, stage, write_json
from safelight.errors import DataError
from training.data.scenes import write_split
from training.data.voc import Quarantined, Scene, crop_scene, read_scene


@stage("train")
def main(cfg: DictConfig) -> None:
    """Prepare `cfg.data`: read each scene once, cut the regions of each split, write them as Arrow folders."""
    console = Console(soft_wrap=True)
    if not cfg.data.labelled:
        console.print(f"prepare: {cfg.data.name} has no labelled data, nothing to do")
        return
    data = plain(cfg.data)
    root = Path(data["processed"])
    scenes, quarantined, records = _read_scenes(data)
    report: dict[str, Any] = {"labels": data["labels"], "records": records, "splits": {}}
    report["quarantined"] = [asdict(q) for q in quarantined]
    for split, parts in data["splits"].items():
        cut = [_cut(scenes, part, data["min_visible"]) for part in parts]
        digest = write_split(cut, data["labels"], root / split)
        report["splits"][split] = {
            "scenes": [scene.image_id for scene, _ in cut],
            "boxes": sum(len(scene.boxes) for scene, _ in cut),
            "sha256": digest,
        }
    write_json(root / "report.json", report)
    reasons = dict(Counter(q.reason for q in quarantined))
    console.print(f"prepare: {records} records, {len(quarantined)} quarantined {reasons or ''}")
    for split, entry in report["splits"].items():
        console.print(f"  {split:5} {entry['boxes']:4} boxes in {', '.join(entry['scenes'])}")


def _read_scenes(data: dict[str, Any]) -> tuple[dict[str, Scene], list[Quarantined], int]:
    """Every scene that a split names, read once: scenes by name, what was quarantined, how many records there were."""
    names = dict.fromkeys(part["scene"] for parts in data["splits"].values() for part in parts)
    scenes: dict[str, Scene] = {}
    quarantined: list[Quarantined] = []
    for name in track(names, description="prepare"):
        picture = _picture(Path(data["folder"]), name)
        scene, bad = read_scene(picture, picture.with_suffix(".xml"), data["labels"], data["class_map"])
        quarantined += bad
        if scene is not None:
            scenes[name] = scene
    records = sum(len(scene.boxes) for scene in scenes.values()) + len(quarantined)
    if len(quarantined) > data["max_quarantined"] * records:
        reasons = dict(Counter(q.reason for q in quarantined))
        raise DataError(
            f"{len(quarantined)} of {records} records are bad {reasons}: more than {data['max_quarantined']:.0%}."
        )
    return scenes, quarantined, records


def _picture(folder: Path, name: str) -> Path:
    found = [path for suffix in (".png", ".jpg", ".jpeg", ".tif") if (path := folder / f"{name}{suffix}").is_file()]
    if not found:
        raise DataError(
            f"Expected a picture {name}.png, .jpg, .jpeg or .tif in {folder}, found none. Run the fetch stage first."
        )
    return found[0]


def _cut(scenes: dict[str, Scene], part: dict[str, Any], min_visible: float) -> tuple[Scene, tuple[int, int, int, int]]:
    scene = scenes.get(part["scene"])
    if scene is None:
        raise DataError(f"{part['scene']}: its picture could not be read, so the split that names it cannot be made.")
    region = tuple(part.get("region") or (0, 0, *scene.size))
    if len(region) != 4:
        raise DataError(f"{scene.image_id}: expected a region [x0, y0, x1, y1], got {list(region)}.")
    return crop_scene(scene, region, min_visible), region


if __name__ == "__main__":
    main()
