"""evaluate: the exported reader asked about validation, test and hard pictures, through the engine that serves it.

Confidence is calibrated on validation pictures; test and hard ones decide nothing. Beside the reader stand the base without
its adapter and an answer that nobody looked for. Writes metrics/reader.json (of another task: reader-NAME.json), and into its
output folder calibration.json and golden.json for the manifest, errors and reliability as tables and charts, and, where the
task's pictures are not private, sheets of them with what was read.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from pipelines.reader.golden import golden_readings
from pipelines.reader.reading import Asking, Exported, asking
from pipelines.reader.tasks import task_of
from pipelines.stage import plain, stage, write_json
from safelight.reader.golden import GoldenReadings
from safelight.reader.manifest import DECODER, Calibration
from safelight.reader.task import Task
from serving.reader.adapter import Adapter
from training.evaluation.latency import processor
from training.fitting.cache import PictureCache
from training.vlm.evaluation.calibration import Sure, confidence, confidence_figures, fitted, told
from training.vlm.evaluation.figures import figures
from training.vlm.evaluation.files import Exhibit, write_errors, write_gallery, write_reliability
from training.vlm.evaluation.majority import majority
from training.vlm.evaluation.reading import Reading, judged
from training.vlm.evaluation.sheet import Shown
from training.vlm.evaluation.speed import Spent, spread
from training.vlm.evaluation.targets import Targets, against
from training.vlm.prepared import Labelled, Pictures, read_split

SPLITS = ("validation", "test", "hard")
MEASURED = ("test", "hard")


@dataclass(frozen=True)
class Split:
    """Records of a split, and their pictures."""

    records: Sequence[Labelled]
    pictures: Pictures

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class Asked:
    """Readings of some pictures of a split. numbers: which."""

    numbers: Sequence[int]
    readings: list[Reading]
    spent: Spent


@dataclass(frozen=True)
class Answers:
    """By split. constrained: as served, of all pictures."""

    constrained: Mapping[str, Asked]
    unconstrained: Mapping[str, Asked]
    untuned: Mapping[str, Asked]


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Ask, calibrate, measure, write."""
    out, task = Path(cfg.out.evaluate), task_of(plain(cfg.task))
    shutil.rmtree(out, ignore_errors=True)  # nothing of an earlier run, least of all a picture that is private now
    out.mkdir(parents=True)
    exported = Exported.read(Path(cfg.out.export))
    splits = read_splits(Path(cfg.task.processed), task, cfg.evaluation.pictures)
    answers, golden = asked(cfg, exported, task, splits)
    write_json(out / "golden.json", {DECODER: golden.model_dump(mode="json")})
    readings = {name: one.readings for name, one in answers.constrained.items()}
    fit = fitted(Sure.of(readings["validation"]), cfg.evaluation.least_answers)
    report = measured(cfg, task, answers, fit)
    write_json(Path(cfg.out.metrics), report)
    write_errors(out, readings, task.fields)
    write_reliability(out, readings, fit or Calibration(), fit is not None)
    if not cfg.task.private:
        write_gallery(out / "gallery", exhibits(cfg, task, splits["test"], readings["test"], fit), task.fields)
    for line in said(cfg.name, report):
        Console(soft_wrap=True, highlight=False).print(line)


def read_splits(folder: Path, task: Task, most: int | None) -> dict[str, Split]:
    """The splits by name, at most so many records of each, evenly spread; the hard one only where the task has it."""
    found = {}
    for name in SPLITS:
        path = folder / f"{name}.jsonl"
        if name == "hard" and not (path.is_file() and path.stat().st_size):
            continue
        every = read_split(folder, name, task)
        records = [every[number] for number in spread(len(every), most)]
        found[name] = Split(records, Pictures(records, task.image_side, PictureCache(0)))
    return found


def asked(
    cfg: DictConfig, exported: Exported, task: Task, splits: Mapping[str, Split]
) -> tuple[Answers, GoldenReadings]:
    """What the reader and its base answer, and the reader's golden readings."""
    options, matrices, test = cfg.evaluation, exported.matrices(), splits["test"]
    with asking(exported, DECODER, rows=options.rows, threads=options.threads) as ask:
        read = functools.partial(read_some, ask, task)
        held, free = ask.adapter(task, matrices), ask.adapter(None, matrices)
        constrained = {name: read(held, split, None) for name, split in splits.items()}
        unconstrained = {
            name: read(free, splits[name], options.unconstrained[name]) for name in MEASURED if name in splits
        }
        untuned = {
            "constrained": read(ask.adapter(task, None), test, options.untuned),
            "unconstrained": read(ask.adapter(None, None), test, options.untuned),
        }
        golden = golden_readings(ask, held, cfg.seed)
    return Answers(constrained, unconstrained, untuned), golden


def read_some(ask: Asking, task: Task, adapter: Adapter, split: Split, most: int | None) -> Asked:
    """Readings of at most so many pictures of a split, evenly spread over it."""
    numbers = spread(len(split), most)
    found, took = ask.read(adapter, split.pictures.__getitem__, numbers)
    truths = [split.records[number].text for number in numbers]
    readings = [judged(task, truth, one.text, one.log_probability) for truth, one in zip(truths, found, strict=True)]
    return Asked(numbers, readings, took)


def measured(cfg: DictConfig, task: Task, answers: Answers, fit: Calibration | None) -> dict[str, Any]:
    """What the metrics file holds."""
    options = cfg.evaluation
    of = functools.partial(figures, fields=task.fields, samples=options.bootstrap_samples, seed=cfg.seed)
    both = {"constrained": answers.constrained, "unconstrained": answers.unconstrained}
    by_split = {
        name: {how: of(asked[name].readings) for how, asked in both.items()}
        for name in MEASURED
        if name in answers.constrained
    }
    asked_for = plain(options.targets)
    targets = Targets(asked_for.get("valid_unconstrained"), asked_for.get("fields", {}))
    return {
        "task": cfg.task.name,
        **by_split,
        "validation": {"constrained": of(answers.constrained["validation"].readings)},
        "baselines": {
            "untuned": {how: of(one.readings) for how, one in answers.untuned.items()},
            "majority": majority_figures(cfg, task, answers, of),
        },
        "calibration": calibration_figures(cfg, answers, fit),
        "speed": speeds(cfg, answers),
        "targets": against(targets, by_split["test"]["unconstrained"], by_split["test"]["constrained"]),
    }


def majority_figures(cfg: DictConfig, task: Task, answers: Answers, of: Any) -> dict[str, Any]:
    """Of the answer that training records give most often, property by property: it looks at no picture."""
    train = read_split(Path(cfg.task.processed), "train", task)
    usual = majority([task.parse(record.text) for record in train], task.fields)
    return {
        name: of([Reading(one.there, usual) for one in answers.constrained[name].readings])
        for name in MEASURED
        if name in answers.constrained
    }


def calibration_figures(cfg: DictConfig, answers: Answers, fit: Calibration | None) -> dict[str, Any]:
    """Before and after, of each split; the fit is validation's."""
    sure = {name: Sure.of(one.readings) for name, one in answers.constrained.items()}
    of = functools.partial(confidence_figures, samples=cfg.evaluation.bootstrap_samples, seed=cfg.seed)
    by = {"before": Calibration(), **({"after": fit} if fit else {})}
    return {
        **told(fit, sure["validation"]),
        **{name: {when: of(one, used) for when, used in by.items()} for name, one in sure.items()},
    }


def speeds(cfg: DictConfig, answers: Answers) -> dict[str, Any]:
    """On the test split, and what it was measured on."""
    return {
        "constrained": answers.constrained["test"].spent.figures(),
        "unconstrained": answers.unconstrained["test"].spent.figures(),
        "rows": cfg.evaluation.rows,
        "threads": cfg.evaluation.threads or os.cpu_count(),
        "processor": processor(),
    }


def exhibits(
    cfg: DictConfig, task: Task, split: Split, readings: Sequence[Reading], fit: Calibration | None
) -> dict[str, Exhibit]:
    """Two sheets of test pictures: some that are evenly spread, which shows how it usually goes, and some that it read
    wrong."""
    most, by = cfg.evaluation.gallery, fit or Calibration()

    def shown(numbers: Sequence[int]) -> list[Shown]:
        return [Shown(split.pictures[n], readings[n], confidence(readings[n], by)) for n in numbers]

    wrong = [number for number, one in enumerate(readings) if not one.right]
    rate = f"{len(wrong)} of {len(readings)} test pictures were read wrong"
    some = [wrong[i] for i in spread(len(wrong), most)]
    return {
        "test": Exhibit(f"{cfg.name}: evenly spread test pictures. {rate}.", shown(spread(len(readings), most))),
        "wrong": Exhibit(f"{cfg.name}: of those that were read wrong. {rate}.", shown(some)),
    }


def said(name: str, report: Mapping[str, Any]) -> list[str]:
    """The report in a few lines."""
    lines = [f"evaluate: {name}"]
    for split in MEASURED:
        if split in report:
            held, free = report[split]["constrained"], report[split]["unconstrained"]
            fields = ", ".join(f"{field} {_share(one['exact'])}" for field, one in held["fields"].items())
            lines.append(
                f"  {split}: all {_share(held['exact'])}; {fields}; valid unconstrained {_share(free['valid'])}"
            )
    met = report["targets"]["met"]
    lines.append(f"  targets: {'none' if met is None else 'met' if met else 'NOT met'}")
    return lines


def _share(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


if __name__ == "__main__":
    main()
