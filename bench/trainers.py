"""Training: the Lightning job against transformers' Trainer, in pictures a second on the processor.

    python bench/trainers.py            # some 10 minutes; also fills in the table of docs/performance.md
    python bench/trainers.py --small    # seconds; small networks and drawn scenes: shows that it works, measures nothing

Each way is a process; they take turns, a block of steps at a time, and stand still meanwhile. What is alike and what is
not: docs/performance.md, "Training against transformers' Trainer".
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import machine
from harness.statistics import ratio
from harness.tasks import NETWORKS, PREPARED, Task, scenes
from harness.turns import Block, Turns, Worker

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs/performance.md"
BEGIN, END = "<!-- training: written by make bench -->", "<!-- end -->"
AIM = 1.2
OURS, THEIRS = "lightning", "trainer"
PACKAGES = ("accelerate", "kornia", "numpy", "pytorch-lightning", "torch", "transformers")

FULL = {"yolov3_tiny": Task("yolov3_tiny", 416, 16, warm=2, block=1, blocks=8, threads=1),
        "d_fine": Task("d_fine", 256, 8, warm=2, block=1, blocks=8, threads=1)}  # fmt: skip
SMALL = {name: Task(name, 64, 2, warm=1, block=2, blocks=2, threads=1, small=True) for name in NETWORKS}
REPETITIONS = 3


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds, and no figures worth quoting")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results.json", help="where `training` is put among the results"
    )
    parser.add_argument(
        "--repetitions", type=int, default=REPETITIONS, help="processes of each way, one after the other"
    )
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS, help="the others' figures stay")
    parser.add_argument("--worker", nargs=3, metavar=("NETWORK", "WAY", "SCENES"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    plan = SMALL if given.small else FULL
    if given.worker:
        network, way, root = given.worker
        work(plan[network], way, Path(root))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the workers, that stand still and would stay
    if not given.small:
        machine.raise_priority()
    chosen = {name: plan[name] for name in given.only}
    measured = measure(chosen, 1 if given.small else given.repetitions, given.small)
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    measured["networks"] = results.get("training", {}).get("networks", {}) | measured["networks"]
    given.out.write_text(json.dumps(results | {"training": measured}, indent=1) + "\n")
    if given.out == parser.get_default("out"):
        write_table(measured, DOCUMENT)
    print(table(measured))


def work(task: Task, way: str, root: Path) -> None:
    """What a worker does: train, and stop after each block."""
    import torch
    from harness.fits import WAYS

    if task.threads is not None:
        torch.set_num_threads(task.threads)
    WAYS[way](task, root, Turns(task.warm, task.block).step)


def measure(plan: Mapping[str, Task], repetitions: int, small: bool) -> dict[str, Any]:
    """Everything, as it stands in the results."""
    from harness.fits import WAYS

    ways = [OURS, THEIRS] if small else list(WAYS)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        root = scenes(Path(scratch), drawn=small)
        networks = {}
        for name, task in plan.items():
            runs: dict[str, list[list[Block]]] = {way: [] for way in ways}
            for repetition in range(repetitions):
                print(f"{name}: repetition {repetition + 1} of {repetitions}", file=sys.stderr)
                for way, blocks in turns(task, ways, root, Path(scratch), small).items():
                    runs[way].append(blocks)
            networks[name] = figures(task, runs)
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": {"python": machine.versions()["python"]} | {name: version(name) for name in PACKAGES},
        "other_load": {"before": round(before, 2), "priority": os.nice(0)},
        "pictures": "drawn" if root != PREPARED else root.name,
        "aim": AIM,
        "networks": networks,
    }


def turns(task: Task, ways: list[str], root: Path, scratch: Path, small: bool) -> dict[str, list[Block]]:
    """One process of each way; all do a block before any does the next, in an order that rotates."""
    command = [sys.executable, str(HERE / "trainers.py"), *(["--small"] if small else []), "--worker", task.network]
    blocks: dict[str, list[Block]] = {way: [] for way in ways}
    with ExitStack() as stack:
        workers = {}
        for number, way in enumerate(ways):
            workers[way] = Worker([*command, way, str(root)], scratch / f"{number}.log")
            stack.callback(workers[way].end)
        for number in range(task.blocks):
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                blocks[way].append(workers[way].turn())
    return blocks


def figures(task: Task, runs: Mapping[str, list[list[Block]]]) -> dict[str, Any]:
    """One network's: of each way the rates of its blocks, and how they compare."""
    pictures = task.batch * task.block
    rates = {way: [pictures / block.seconds for run in of_way for block in run] for way, of_way in runs.items()}
    spent = {way: [block.cpu_seconds / pictures for run in of_way for block in run] for way, of_way in runs.items()}
    return {
        "parameters": sum(parameter.numel() for parameter in task.detector().parameters()),
        "side": task.side, "batch": task.batch, "precision": "bf16-mixed", "threads": task.threads,
        "warm_steps": task.warm, "block_steps": task.block,
        "ways": {
            way: {
                "pictures_per_s": round(statistics.median(rates[way]), 3),
                "cpu_s_per_picture": round(statistics.median(spent[way]), 4),
                "to_trainer": asdict(ratio(rates[way], rates[THEIRS], 0.5)),
                "cpu_to_trainer": asdict(ratio(spent[way], spent[THEIRS], 0.5)),
                "runs": [[[round(b.seconds, 4), round(b.cpu_seconds, 3)] for b in run] for run in runs[way]],
            }
            for way in runs
        },
    }  # fmt: skip


def table(measured: Mapping[str, Any]) -> str:
    """The table of docs/performance.md."""
    lines = [
        "| network | way | pictures/s | to Trainer | processor s/picture | to Trainer |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in measured["networks"].items():
        for way, of_way in found["ways"].items():
            cells = [name, way, f"{of_way['pictures_per_s']:.2f}", _said(of_way["to_trainer"]),
                     f"{of_way['cpu_s_per_picture']:.3f}", _said(of_way["cpu_to_trainer"])]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _said(found: Mapping[str, float]) -> str:
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def write_table(measured: Mapping[str, Any], document: Path) -> None:
    """Put the table where the document has room for it."""
    head, _, rest = document.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    document.write_text(f"{head}{BEGIN}\n{table(measured)}\n{END}{tail}")


if __name__ == "__main__":
    main()
