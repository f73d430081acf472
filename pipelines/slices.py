"""Which part of the configuration each stage reads. A stage is given that part and nothing else, and DVC runs it again when
that part has changed: what is not listed here cannot be read, so nothing can be forgotten.

Knows nothing of what the values mean.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

ALWAYS = ("name", "paths", "out", "tracking")
"""Every stage reads these. Where something is written or tracked does not change what it is: DVC does not watch `tracking`."""

_DATA = ("data.name", "data.processed", "data.labels", "data.labels_file", "data.labelled")
_LOOK = (*_DATA, "data.folder", "model.preprocess", "model.thresholds", "seed")

READS: dict[str, tuple[str, ...]] = {
    "prepare": ("data",),
    "train": (
        *(*_DATA, "accumulate", "checkpoint_every", "datamodule", "debugging", "ema_decay", "fit", "log_every"),
        *("module", "patience"),
        *("model.detector", "model.preprocess", "model.thresholds", "resume", "seed", "steps", "trainer", "val_every"),
        "warm_start",
    ),
    "evaluate": (*_LOOK, "data.private", "evaluation", "bootstrap_samples", "no_metrics"),
    "export": (*_LOOK, "export"),
    "register": ("about", "data", "fit", "model", "seed", "trainer"),
    "promote": (*_DATA, "data.card", "data.folder", "promotion", "seed"),
}


_OF_TASK = ("task.name", "task.prompt", "task.image_side", "task.schema", "task.processed")

READS_OF_READERS: dict[str, tuple[str, ...]] = {
    "reader.draw": ("task.name", "task.records", "task.drawing"),
    "reader.prepare": (
        *(*_OF_TASK, "task.records", "task.ignore", "task.group", "task.split", "task.quality", "task.max_pixels"),
        *("task.max_quarantined", "task.max_leaked", "task.near_duplicate_bits"),
    ),
    "reader.train": (
        *(*_OF_TASK, "model.name", "model.reader", "model.adaptation"),
        *("datamodule", "module", "trainer", "debugging", "seed", "steps"),
        *("val_every", "accumulate", "log_every", "patience", "ema_decay", "resume", "checkpoint_every"),
    ),
    "reader.export": (*_OF_TASK, "model.reader", "export"),
    "reader.register": (
        *(*_OF_TASK, "task.about", "task.private", "task.quality"),
        *("model", "module", "seed", "steps", "trainer"),
    ),
    "reader.promote": (*_OF_TASK, "task.card", "promotion"),
    "reader.evaluate": (*_OF_TASK, "task.private", "evaluation", "seed"),
    "reader.flavours": (*_OF_TASK, "model.reader", "flavours"),
}
"""The same for stages that compose from conf/reader.yaml; those in pipelines/reader that are not listed read all."""


_ALL = {**READS, **READS_OF_READERS}


def part(cfg: DictConfig, stage: str) -> DictConfig:
    """What `stage` reads of `cfg`, resolved; to read anything else is an error. A stage that is not listed reads all."""
    reads = _ALL.get(stage)
    if reads is None:
        return cfg
    kept = OmegaConf.create(_selected(cfg, (*ALWAYS, *reads)))
    OmegaConf.set_struct(kept, True)
    return kept


def watched(cfg: DictConfig, stage: str) -> dict[str, Any]:
    """What DVC watches for `stage`: plain values."""
    return _selected(cfg, tuple(path for path in (*ALWAYS, *_ALL[stage]) if path != "tracking"))


def _selected(cfg: DictConfig, paths: tuple[str, ...]) -> dict[str, Any]:
    whole = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    result: dict[str, Any] = {}
    for path in paths:
        *parents, last = path.split(".")
        source: Any = whole
        target = result
        for key in parents:
            source, target = source.get(key, {}), target.setdefault(key, {})
        if last in source:
            target[last] = source[last]
    return result
