"""The gateway against its limit and its peers: images a second, processor time, latency at half load, start and memory.

    python bench/speed.py            # some ten minutes; also draws bench/serving.png and fills in docs/performance.md
    python bench/speed.py --small    # seconds; shows that it works, and measures nothing

The servers share one core, the load has another; the gateway is asked with envelopes, each fresh, sealed before the clock
starts, and its peers without any. How to read the results, and what is unfair to whom: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import contest, machine, verdict
from harness.ceiling import ceiling
from harness.contest import PLAIN, SEALED, Contestant, Effort
from harness.limit import Limit
from harness.peers import PEERS
from harness.pictures import Picture, mosaic, picture
from harness.service import ROOT, Cores, Network, bundle_of, champions, pinned
from harness.starts import start_seconds
from harness.tables import write_tables

from safelight.bundle import Manifest

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs/performance.md"
PHOTOGRAPHS = ROOT / "data/raw/photos"
_PIXELS, _SCORE = 0.1, 0.001  # answers are rounded, and a batch sums in another order


@dataclass(frozen=True)
class Subject:
    """A model that is served. label: in the results. name: of the bundle. peers: that serve it, too. graph, least_side: of
    the variant that the gateway is told to use by `environ`. photographs: whether it has to see something."""

    label: str
    network: Network
    name: str = "coco"
    peers: tuple[str, ...] = ()
    sizes: tuple[int, ...] = (20_000, 200_000)
    environ: Mapping[str, str] = field(default_factory=dict)
    graph: str = "model.onnx"
    photographs: bool = False


FULL = Effort(rounds=4, block_s=1.2, connections=(1, 4, 8, 16), try_s=0.4, lone=60, half_s=12, peer_half_s=4)
SMALL = Effort(rounds=2, block_s=0.1, connections=(1, 2), try_s=0.05, lone=4, half_s=0.3, peer_half_s=0.2)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds, and no figures worth quoting")
    parser.add_argument("--rounds", type=int, help="of each server; fewer are quicker")
    parser.add_argument("--only", nargs="*", help="labels of the models to measure")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results.json", help="where `serving` is put among the results"
    )
    given = parser.parse_args(arguments)
    if sys.platform != "linux":
        sys.exit("This benchmark pins processes to cores and reads /proc: it needs Linux.")
    effort = SMALL if given.small else FULL
    if given.rounds:
        effort = Effort(**(asdict(effort) | {"rounds": given.rounds}))
    if not given.small:
        machine.raise_priority()
    subjects = [one for one in _subjects(given.small) if not given.only or one.label in given.only]
    measured = measure(subjects, effort, starts=1 if given.small else 5)
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.write_text(json.dumps(results | {"serving": measured}, indent=1) + "\n")
    if not given.small:
        from harness.serving_figure import draw

        draw(measured, given.out.with_name("serving.png"))
    if given.out == parser.get_default("out"):
        write_tables(measured, DOCUMENT)
    print(summary(measured))


def measure(subjects: Sequence[Subject], effort: Effort, starts: int) -> dict[str, Any]:
    """Everything, as it stands in the results."""
    cores, before = Cores.one_each(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        models = {one.label: _model(one, effort, cores, Path(scratch) / str(at)) for at, one in enumerate(subjects)}
        names = champions()
        network: Network = "champion" if names and starts > 1 else "2 ms"
        seconds = start_seconds(network, names if network == "champion" else ("coco",), Path(scratch), cores, starts)
    measured: dict[str, Any] = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe() | {"shared": cores.service == cores.load},
        "versions": machine.versions(),
        "other_load": {"before": round(before, 2), "priority": os.nice(0)},
        "plan": asdict(effort),
        "generator": {
            f"{size // 1000} kB": ceiling(cores, picture(size, 0).data, 8, min(1.0, effort.block_s))
            for size in (20_000, 200_000)
        },
        "models": models,
        "start": verdict.start_figures(seconds, ", ".join(names) if network == "champion" else network),
    }
    return measured | {"goals": verdict.goals(measured)}


def _model(subject: Subject, effort: Effort, cores: Cores, scratch: Path) -> dict[str, Any]:
    peers = [name for name in subject.peers if PEERS[name].installed()]
    given = subject.network, subject.name, scratch, cores, peers, subject.environ
    with contest.contestants(*given) as (found, bundle):
        limit = Limit(bundle, graph=subject.graph)
        with pinned(cores.load):
            pictures = [_picture(subject, size) for size in subject.sizes]
            ways = {one.name: contest.best_way(one, pictures[-1], effort) for one in found}
            parts = {one.label: _part(subject, found, ways, limit, one, effort, cores) for one in pictures}
        for one in found:
            one.note_memory("loaded_and_used")
    version = Manifest.model_validate_json((bundle / "manifest.json").read_bytes()).version
    return {
        "version": version,
        "graph": subject.graph,
        "peers_missing": sorted(set(subject.peers) - set(peers)),
        "ways": {name: {"way": way, "connections": n, "tried": tried} for name, (way, n, tried) in ways.items()},
        "pictures": parts,
        "memory": {one.name: one.memory for one in found if one.name != PLAIN},
    }


def _part(
    subject: Subject,
    found: Sequence[Contestant],
    ways: Mapping[str, tuple[str, int, Any]],
    limit: Limit,
    one: Picture,
    effort: Effort,
    cores: Cores,
) -> dict[str, Any]:
    """One model, one picture: everything that was measured of it."""
    print(f"{subject.label}, {one.label}", file=sys.stderr)
    wanted = limit.boxes(one.data)
    for contestant in found:
        contest.check_boxes(contestant, one, wanted, (_PIXELS, _SCORE))
    entrants = [(contestant, *ways[contestant.name][:2]) for contestant in found]
    runs = contest.rounds(entrants, limit, one, effort, cores, seed=len(one.data))
    lone, half = {}, {}
    for contestant, way_name, _ in entrants:
        way = contestant.ways[way_name]
        rates = sorted(run["requests_per_s"] for run in runs[contestant.name])
        rate, own = rates[len(rates) // 2] / 2, contestant.name == SEALED
        lone[contestant.name] = contest.lone(contestant, way, one, effort.lone)
        seconds = effort.half_s if own else effort.peer_half_s
        half[contestant.name] = {"constant": contest.at_rate(contestant, way, one, rate, seconds)}
        if own:
            half[contestant.name]["poisson"] = contest.at_rate(contestant, way, one, rate, seconds, poisson_seed=1)
    part: dict[str, Any] = {
        "bytes": len(one.data),
        "pixels": list(one.size),
        "boxes": len(wanted),
        "runs": runs,
        "lone_ms": lone,
        "half_load": half,
    }
    return part | {"figures": verdict.figures(part)}


def _picture(subject: Subject, size: int) -> Picture:
    files = sorted(PHOTOGRAPHS.glob("*.png")) if subject.photographs else []
    return mosaic(files, size, seed=0) if len(files) >= 4 else picture(size, 0)


def _subjects(small: bool) -> list[Subject]:
    """What is here to be measured: the generated network, the champions, and the cheaper variants that passed their gates."""
    everybody = tuple(PEERS)
    if small:
        return [Subject(verdict.TWO_MS, "2 ms", peers=everybody, sizes=(20_000,))]
    found = [Subject(verdict.TWO_MS, "2 ms", peers=everybody)]
    for name in champions():
        main = name == "coco"
        sizes = (20_000, 200_000) if main else (20_000,)
        found.append(Subject(name, "champion", name, everybody if main else (), sizes, photographs=main))
        manifest = Manifest.model_validate_json((bundle_of(ROOT, name) / "manifest.json").read_bytes())
        int8 = manifest.variants.get("int8")
        if int8 is not None and int8.file is not None:
            quick = {"SAFELIGHT_RUNTIME__PRECISION": "int8"}
            found.append(Subject(f"{name} int8", "champion", name, (), sizes, quick, int8.file, main))
    return found


def summary(measured: Mapping[str, Any]) -> str:
    """The figures for a terminal."""
    lines = []
    for model, of_model in measured["models"].items():
        for label, part in of_model["pictures"].items():
            for name, one in part["figures"]["servers"].items():
                lines.append(
                    f"{model:<18} {label:<7} {name:<18} {one['requests_per_s']:>8.1f}/s  to the limit "
                    f"{one['to_limit']['value']:.3f}  cpu {one['cpu_ms']:>7.2f} ms, beyond decode and inference "
                    f"{one['beyond_decode_and_inference_ms']:>6.2f}, beyond the limit {one['beyond_limit_ms']:>6.2f}"
                )
    for goal in measured["goals"]:
        sign, holds = ">=" if goal["at_least"] else "<=", "holds" if goal["holds"] else "DOES NOT HOLD"
        lines.append(f"{holds:<14} {goal['what']} ({goal['where']}): {goal['value']:.3f} {sign} {goal['bound']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
