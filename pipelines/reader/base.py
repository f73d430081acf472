"""base: a language model in, offline_135m out, a base model that sees: `from_pretrained` loads it as any other.

Draws the pictures, teaches tower and connector, and writes the model, its tokenizer, history.csv and summary.json. A run that
was killed goes on where it was.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress

from pipelines.reader.tasks import task_of
from pipelines.stage import build, plain, stage, write_json
from pipelines.training import looking_into, opened, said
from safelight.reader.task import Task
from training.drawings.interface import drawing
from training.drawings.specification import Specification
from training.fitting.fitting import Fitted, fit
from training.fitting.history import write_history
from training.fitting.resuming import Unfinished, fingerprint
from training.fitting.rounds import Rounds
from training.registry.tracking import close_run
from training.vlm.offline import Tower, assemble, language_model
from training.vlm.tower.beginning import begin
from training.vlm.tower.code import CODE
from training.vlm.tower.datamodule import LessonsDataModule
from training.vlm.tower.module import MONITOR, TowerModule
from training.vlm.tower.pool import Seen, draw
from training.vlm.tower.scale import as_long_as_words
from training.vlm.tower.words import Words

DECIDING = ("tasks", "tower", "pictures", "validation", "examples", "batch_size", "steps", "val_every", "log_every")
DECIDING_TOO = ("accumulate", "shift", "light", "module", "trainer", "seed", "checkpoint_every")


@stage("reader_base")
def main(cfg: DictConfig) -> None:
    """Assemble, draw, teach, write."""
    console = Console(soft_wrap=True, highlight=False)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    tower: Tower = build(cfg.tower)
    model, tokenizer = assemble(*language_model(Path(cfg.language_model)), tower, cfg.seed)
    begin(model.model.vision_model)
    tasks = {name: task_of(plain(values)) for name, values in cfg.tasks.items()}
    words = words_of(cfg, tasks, tokenizer, tower)
    seeing = torch.nn.ModuleList([model.model.vision_model, model.model.connector])
    values = plain(cfg)
    settings = {name: values[name] for name in (*DECIDING, *DECIDING_TOO)}
    unfinished = Unfinished(Path(cfg.out.checkpoints), fingerprint(settings, seeing, {}, CODE))
    start = unfinished.start(str(cfg.resume))
    if start.said:
        console.print(f"base: {start.said}")
    log, run_id = opened(cfg.tracking, cfg.name, start, {"kind": "pre-training"})
    failed = True
    try:
        log.settings(values)
        unfinished.begin(start, run_id)
        module = build(
            cfg.module,
            tower=model.model.vision_model,
            connector=model.model.connector,
            embeddings=model.get_input_embeddings().weight.detach(),
            words=words,
        )
        data = lessons(cfg, tasks, words, tower, console)
        done = fit(
            module,
            data,
            functools.partial(build, cfg.trainer, max_steps=cfg.steps, accumulate_grad_batches=cfg.accumulate),
            Path(cfg.out.checkpoints),
            seed=cfg.seed,
            log_every=cfg.log_every,
            resume_from=start.checkpoint,
            resumable=True,
            checkpoint_every=cfg.checkpoint_every,
            callbacks=looking_into(cfg.debugging),
            track=log,
        )
        write(cfg, model, tokenizer, module, data, done)
        failed = False
    finally:
        close_run(cfg.tracking.uri, run_id, failed)
    unfinished.finish()
    console.print(f"base: {said(done, MONITOR)}")


def words_of(cfg: DictConfig, tasks: Mapping[str, Task], tokenizer: Any, tower: Tower) -> Words:
    """The words of the tasks' answers, as examples show them."""
    answers = {}
    for name, task in tasks.items():
        rng = np.random.default_rng([cfg.seed, len(name)])
        answers[name] = [task.leaves(drawing(name).sample(rng)) for _ in range(cfg.examples)]
    return Words(functools.partial(tokenizer.encode, add_special_tokens=False), answers, tower.image_tokens)


def lessons(
    cfg: DictConfig, tasks: Mapping[str, Task], words: Words, tower: Tower, console: Console
) -> LessonsDataModule:
    """What is drawn to learn from, and to validate on."""
    specifications = {name: Specification.of(plain(cfg.tasks[name])["drawing"]) for name in tasks}
    counts = {"train": plain(cfg.pictures), "validation": plain(cfg.validation)}
    drawn: dict[str, list[Seen]] = {}
    with Progress(console=console) as bars:
        for split, wanted in counts.items():
            bar = bars.add_task(f"drawing, {split}", total=sum(wanted.values()))
            processes = max(1, len(os.sched_getaffinity(0)))
            drawn[split] = draw(specifications, wanted, split, processes, functools.partial(bars.advance, bar))
    return LessonsDataModule(
        drawn["train"],
        drawn["validation"],
        tasks,
        words,
        patch=tower.patch,
        rounds=Rounds(cfg.steps, cfg.val_every, cfg.batch_size, cfg.accumulate),
        shift=cfg.shift,
        light=build(cfg.light),
        seed=cfg.seed,
        workers=cfg.workers,
    )


def write(
    cfg: DictConfig, model: Any, tokenizer: Any, module: TowerModule, data: LessonsDataModule, done: Fitted
) -> None:
    """The stage's outputs. Nothing in them tells one run from the next."""
    out = Path(cfg.out.base)
    out.mkdir(parents=True, exist_ok=True)
    as_long_as_words(model, next(iter(data.val_dataloader())).picture)
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    write_history(done.history, out / "history.csv")
    summary = {MONITOR: done.score if done.best_step else None, "best_step": done.best_step, "steps": done.steps}
    write_json(out / "summary.json", summary)
    label = "reader.base.fit"
    spent = {"seconds": round(done.seconds, 2), "loader_wait": round(done.loader_wait, 4)}
    write_json(Path(cfg.paths.seconds) / f"{label}.json", {"stage": label, **spent})


if __name__ == "__main__":
    main()
