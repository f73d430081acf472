"""prepare: records of a task, as people write them, checked, parted, and stored with their pictures.

Bad lines are quarantined, counted and kept in `quarantine.jsonl`; too many of them is an error, and then they lie beside the
prepared folder, which is replaced whole when everything went well and not touched otherwise.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from PIL import Image
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track

from pipelines.reader.tasks import task_of
from pipelines.stage import plain, stage, write_json
from safelight.errors import ConfigError, DataError
from safelight.reader.quality import QualityLimits
from safelight.reader.task import Task
from training.data.duplicates import pairs
from training.data.files import split_of
from training.data.scenes import whole
from training.vlm.checking import Checked, Found, Rules, checked, refuse_too_many
from training.vlm.parting import SPLITS, PartRules, leaks, parted, refuse_leaks
from training.vlm.preparing import QUARANTINE, REPORT, report, said, write_prepared
from training.vlm.records import Listing, read_records, write_quarantine


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Prepare `cfg.task`."""
    console = Console(soft_wrap=True)
    console.print(f"prepare: {cfg.task.name}")
    for line in said(prepare(plain(cfg.task))):
        console.print(f"  {line}", highlight=False)


def prepare(values: Mapping[str, Any]) -> dict[str, Any]:
    """List the records of a task (plain values of conf/task), check them, part them, write them; the report."""
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # our own limit is task.max_pixels
    task, rules, part_rules = task_of(values), _rules(values), _part_rules(values)
    root = Path(values["processed"])
    if root.exists() and not (root / REPORT).is_file() and any(root.iterdir()):
        raise ConfigError(
            "task.processed is a folder that this stage did not make. It would be replaced: name another."
        )
    pointers = _pointers(task, values["group"])
    found = checked(_listing(values, task), rules, lambda records: track(records, "prepare"))
    _refuse(found, rules.max_quarantined, root.with_name(f"{root.name}.{QUARANTINE}"))
    near = pairs([own.looks for own in found.records], values["near_duplicate_bits"])
    groups = [group_of(task, own, pointers) for own in found.records]
    given = [own.record.split for own in found.records]
    splits = parted(given, groups, [own.looks.sha256 for own in found.records], near, part_rules)
    leak = leaks(splits, groups, near)
    refuse_leaks(leak, {split: splits.count(split) for split in SPLITS}, part_rules.max_leaked)
    with whole(root) as folder:
        digests = write_prepared(folder, found, splits, rules.max_pixels)
        result = report(task.name, found, splits, groups, near, leak, digests)
        write_json(folder / REPORT, result)
    return result


def group_of(task: Task, own: Checked, pointers: Sequence[str]) -> str | None:
    """What a record shares with no other split: the parts of its answer at these JSON Pointers; None for nothing."""
    leaves = task.leaves(own.record.answer)
    named = {key: v for p in pointers for key, v in leaves.items() if key == p or key.startswith(f"{p}/")}
    return json.dumps(named) if named else None


def _listing(values: Mapping[str, Any], task: Task) -> Listing:
    """All records: of one JSONL, or of one a split."""
    if values["records"] is None:
        raise ConfigError("Expected records: say task.records=FILE.jsonl, or the folder that holds one a split.")
    place = Path(values["records"])
    files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    if not files:
        raise DataError("task.records: expected a folder with JSONL files, found none in it.")
    names = _given(files)
    parts = [read_records(path, task, values["ignore"], split) for path, split in zip(files, names, strict=True)]
    records = [record for part in parts for record in part.records]
    records.sort(key=lambda record: SPLITS.index(record.split or "train"))
    aside = [own for part in parts for own in part.quarantined]
    return Listing(tuple(records), tuple(aside), sum(part.lines for part in parts))


def _given(files: Sequence[Path]) -> list[str | None]:
    """The split that each file is named after; None where there is one file, to be parted."""
    if len(files) == 1:
        return [None]
    names = [_split_name(path.stem) for path in files]
    if not set(names) <= set(SPLITS) or len(set(names)) < len(names):
        stems = ", ".join(path.stem for path in files)
        raise ConfigError(f"task.records: expected one JSONL, or one for each of {', '.join(SPLITS)}; got {stems}.")
    return list(names)


def _split_name(stem: str) -> str:
    """Of a file; `val`, `dev` and the like are validation."""
    name = "hard" if stem == "hard" else split_of(stem) or ""
    return "validation" if name == "val" else name


def _refuse(found: Found, max_quarantined: float, beside: Path) -> None:
    """Too many bad lines are an error, and are kept to be looked at."""
    beside.unlink(missing_ok=True)
    try:
        refuse_too_many(found, max_quarantined)
    except DataError as error:
        beside.parent.mkdir(parents=True, exist_ok=True)
        write_quarantine(beside, found.quarantined)
        raise DataError(f"{error.detail} Every one of them, and why: {beside}") from None


def _rules(values: Mapping[str, Any]) -> Rules:
    try:
        limits = None if values["quality"] is None else QualityLimits(**values["quality"])
        return Rules(values["max_pixels"], limits, values["max_quarantined"])
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"task.quality: {places}.") from None
    except ValueError as error:
        raise ConfigError(f"task: {error}.") from None


def _part_rules(values: Mapping[str, Any]) -> PartRules:
    try:
        return PartRules(values["split"]["fractions"], values["split"]["seed"], values["max_leaked"])
    except ValueError as error:
        raise ConfigError(f"task.split: {error}.") from None


def _pointers(task: Task, group: Any) -> list[str]:
    """JSON Pointers whose first part is a field of the answer. Raises ConfigError."""
    for pointer in group or ():
        if not isinstance(pointer, str) or pointer.split("/")[1:2] not in [[field] for field in task.fields]:
            wanted = ", ".join(f"/{field}" for field in task.fields)
            raise ConfigError(f"task.group: expected JSON Pointers to {wanted}, got {pointer!r}.")
    return list(group or ())


if __name__ == "__main__":
    main()
