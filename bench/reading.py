"""Reading: our engine against torch's plain `generate`, for the same answers, alone and eight at a time.

    python bench/reading.py                                    # some 10 minutes; fills in the table of docs/performance.md
    python bench/reading.py --base FOLDER --adapter FOLDER --records FILE.jsonl    # a trained reader and its own pictures
    python bench/reading.py --small                            # a minute; a small network: shows that it works

All ways run in one process and take turns, with as many threads each. What is alike and what is not: docs/performance.md,
"Reading against plain generation".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from harness import machine, readers
from harness.reading_ways import BATCHES, EXACT, HELD, PLAIN, all_ways, answerable, read_pictures, turns
from harness.small_reader import small_base
from harness.statistics import ratio

from safelight.reader.task import Task
from training.vlm.offline import Tower

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs/performance.md"
TASK = HERE.parent / "conf/task/keys.yaml"
MODEL, BASE = (HERE.parent / name for name in ("conf/model/vlm/offline_135m.yaml", "conf/reader_base.yaml"))
GGUF = HERE.parent / "data/language_models/SmolLM2-135M-Instruct.Q4_1.gguf"
BEGIN, END = "<!-- reading: written by make bench -->", "<!-- end -->"
PACKAGES = ("llguidance", "numpy", "onnxruntime", "torch", "transformers")
AIM = 2.0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a minute, and no figures worth quoting")
    parser.add_argument("--base", type=Path, help="a checkpoint's folder; by default one is put together")
    parser.add_argument("--adapter", type=Path, help="its adapter's folder; by default one is fitted to drawn pictures")
    parser.add_argument("--records", type=Path, help="JSONL of pictures that the adapter can read")
    parser.add_argument(
        "--language-model", type=Path, default=GGUF, help="the GGUF file for the base put together here"
    )
    parser.add_argument("--rounds", type=int, default=12, help="how often each way reads, after a rehearsal")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each way")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results.json", help="where `reading` is put among the results"
    )
    given = parser.parse_args(arguments)
    if (given.adapter is None) != (given.records is None) or (given.adapter and not given.base):
        parser.error("--adapter goes with --base and --records")
    if not given.small:
        machine.raise_priority()
    measured = measure(given)
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.write_text(json.dumps(results | {"reading": measured}, indent=1) + "\n")
    if given.out == parser.get_default("out"):
        write_table(measured, DOCUMENT)
    print(table(measured))


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it stands in the results."""
    before = os.getloadavg()[0]
    torch.set_num_threads(given.threads)
    described = yaml.safe_load(TASK.read_text())
    task = Task(
        described["name"], described["schema"], described["prompt"], 96 if given.small else described["image_side"]
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.base or Path(scratch) / "base"
        if given.small:
            small_base(folder, task)
        elif not given.base:
            tower = yaml.safe_load(BASE.read_text())["tower"]
            readers.base(folder, given.language_model, Tower(**{k: v for k, v in tower.items() if k != "_target_"}))
        pictures, answers = readers.drawn(task, 4, task.image_side)
        views = yaml.safe_load(MODEL.read_text())["reader"]["views"]
        made = readers.made(folder, given.adapter, Path(scratch), task, (pictures, answers), views)
        if given.records:
            pictures = read_pictures(given.records, 64)
        ways, stop = all_ways(made, task, given.threads)
        try:
            chosen = answerable(pictures, ways[PLAIN], made, task)
            runs = turns(ways, chosen, 2 if given.small else given.rounds)
        finally:
            stop()
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": {"python": machine.versions()["python"]} | {name: version(name) for name in PACKAGES},
        "other_load": {"before": round(before, 2), "priority": os.nice(0)},
        "aim": AIM,
        "network": "small" if given.small else "SmolLM2-135M",
        "trained": bool(given.adapter),
        "fit_steps": made.steps,
        "lora_rank": made.rank,
        "looks": len(made.views),
        "prompt_tokens": len(made.prompt_ids),
        "threads": given.threads,
        "batches": {str(batch): figures(runs[batch]) for batch in BATCHES},
    }


def figures(runs: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """One batch size's: of each way its time, and how that compares with plain generation's beside it. Raises RuntimeError
    unless all ways that calculate alike say the same."""
    plain = [seconds for seconds, _, _ in runs[PLAIN]]
    expected = [ids for _, of_run, _ in runs[PLAIN] for ids in of_run]
    found = {}
    for way, of_way in runs.items():
        answers = [ids for _, of_run, _ in of_way for ids in of_run]
        equal = [mine == theirs for mine, theirs in zip(answers, expected, strict=True)]
        if way in EXACT and not all(equal):
            raise RuntimeError(f"{way} does not say what plain generation says: {sum(equal)} of {len(equal)} answers.")
        rates = [sum(map(len, ids)) / seconds for seconds, ids, _ in of_way]
        taken = [seconds for seconds, _, _ in of_way]
        found[way] = {
            "seconds": round(statistics.median(taken), 4),
            "tokens_per_s": round(statistics.median(rates), 2),
            "speedup": asdict(ratio(plain, taken, 0.5)),
            "equal_answers": sum(equal) / len(equal),
            "tokens": round(statistics.mean(len(one) for _, ids, _ in of_way for one in ids), 2),
            "runs": round(statistics.mean(one for _, _, steps in of_way for one in steps), 2),
            "all_seconds": [round(seconds, 4) for seconds in taken],
        }
    return found


def table(measured: Mapping[str, Any]) -> str:
    """The table of docs/performance.md."""
    lines = [
        "| pictures at a time | way | s/picture | tokens/s | times as fast as generate fp32 | tokens | runs | same answers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for batch, found in measured["batches"].items():
        for way, one in found.items():
            speed = one["speedup"]
            cells = [
                batch, way, f"{one['seconds'] / int(batch):.3f}", f"{one['tokens_per_s']:.1f}",
                f"{speed['value']:.2f} ({speed['low']:.2f} to {speed['high']:.2f})",
                f"{one['tokens']:.1f}", f"{one['runs']:.1f}", f"{one['equal_answers']:.0%}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    least = min(found[HELD]["speedup"]["value"] for found in measured["batches"].values())
    said = "holds" if least >= measured["aim"] else "**does not hold**"
    goal = f"Goal: {HELD} at least {measured['aim']:g} times as fast as {PLAIN}: {said}."
    return "\n".join([*lines, "", goal])


def write_table(measured: Mapping[str, Any], document: Path) -> None:
    """Put the table where the document has room for it."""
    head, found, rest = document.read_text().partition(BEGIN)
    if found:
        _, _, tail = rest.partition(END)
        document.write_text(f"{head}{BEGIN}\n{table(measured)}\n{END}{tail}")


if __name__ == "__main__":
    main()
