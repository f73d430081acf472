"""What sealing costs: latency and throughput of sealed requests against plain ones, written to bench/results.json.

    python bench/sealed.py            # minutes; also draws bench/sealed.png and fills in the table of docs/performance.md
    python bench/sealed.py --small    # seconds; tiny network, small pictures: shows that it works, and measures nothing

Service and load run on different cores and talk over loopback. Plain and sealed requests take turns in one process, so that
noise hits them alike; every envelope is fresh. How to read the results: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import alone, machine
from harness.load import Timing, latencies, throughput
from harness.pictures import Picture, picture
from harness.service import Cores, Network, Service, has_champion, network_name, running
from harness.statistics import difference_ms, quantile, ratio
from harness.ways import Way, ways_of

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs/performance.md"
_END = "<!-- end -->"


@dataclass(frozen=True)
class Plan:
    """What is measured. networks: of the service, with the sizes of the pictures in bytes and for each of these the rounds
    of lone requests and the requests of a block of throughput. repetitions: services, one after the other. blocks: of
    throughput, for each way in each repetition. repeats: of what is measured without a service."""

    networks: Mapping[Network, Mapping[int, tuple[int, int]]]
    repetitions: int
    blocks: int
    connections: int
    repeats: int
    seed: int = 0


ALL_SIZES = {20_000: (100, 40), 200_000: (150, 40), 2_000_000: (40, 20), 10_000_000: (20, 8)}
SMALL_SIZES = {20_000: (100, 40), 200_000: (150, 40)}
FULL = Plan({"champion": ALL_SIZES, "tiny": SMALL_SIZES}, repetitions=3, blocks=2, connections=4, repeats=300)
WITHOUT_A_CHAMPION = Plan({"tiny": ALL_SIZES}, repetitions=3, blocks=2, connections=4, repeats=300)
SMALL = Plan({"tiny": {20_000: (4, 4), 200_000: (3, 4)}}, repetitions=1, blocks=1, connections=2, repeats=20)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds, and no figures worth quoting")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results.json", help="where `sealed` is put among the results"
    )
    given = parser.parse_args(arguments)
    if sys.platform != "linux":
        sys.exit("This benchmark pins processes to cores and reads /proc: it needs Linux.")
    plan = SMALL if given.small else FULL if has_champion() else WITHOUT_A_CHAMPION
    if not given.small:
        machine.raise_priority()
    measured = measure(plan)
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.write_text(json.dumps(results | {"sealed": measured}, indent=1) + "\n")
    if not given.small:
        from harness.figure import draw

        draw(measured, given.out.with_name("sealed.png"))
    if given.out == parser.get_default("out"):
        write_tables(measured, DOCUMENT)
    print(summary(measured))


def measure(plan: Plan) -> dict[str, Any]:
    """Everything, as it stands in the results."""
    cores = Cores.split()
    pictures = {size: picture(size, plan.seed) for sizes in plan.networks.values() for size in sizes}
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        networks = dict(_network(network, plan, pictures, cores, Path(scratch)) for network in plan.networks)
        parts = _parts(plan, list(pictures.values()), Path(scratch))
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe()
        | {"service_cores": len(cores.service), "load_cores": len(cores.load), "shared": cores.service == cores.load},
        "versions": machine.versions(),
        "other_load": {"before": round(before, 2), "priority": os.nice(0)},
        "plan": {"repetitions": plan.repetitions, "connections": plan.connections, "seed": plan.seed},
        "pictures": {one.label: {"bytes": len(one.data), "pixels": list(one.size)} for one in pictures.values()},
        "networks": networks,
        "parts": parts,
    }


def _network(
    network: Network, plan: Plan, pictures: Mapping[int, Picture], cores: Cores, scratch: Path
) -> tuple[str, dict[str, Any]]:
    """(its name, the figures by picture). Each repetition is a service of its own."""
    runs: dict[str, list[dict[str, Any]]] = {pictures[size].label: [] for size in plan.networks[network]}
    for repetition in range(plan.repetitions):
        print(f"{network}: service {repetition + 1} of {plan.repetitions}", file=sys.stderr)
        folder = scratch / f"{network}-{repetition}"
        with running(network, folder, cores) as service:
            ways = ways_of(service)
            for size, (rounds, requests) in plan.networks[network].items():
                one = pictures[size]
                timings = latencies(service, ways, one.data, rounds, plan.seed + repetition)
                rates = _rates(service, ways, one, requests, plan)
                runs[one.label].append({"timings": timings, "rates": rates, "memory": _memory(service, ways, one)})
        name = "tiny" if network == "tiny" else network_name(folder)
    return name, {label: _figures(of_label) for label, of_label in runs.items()}


def _rates(
    service: Service, ways: Mapping[str, Way], one: Picture, requests: int, plan: Plan
) -> dict[str, list[dict[str, float]]]:
    """Blocks of throughput, all ways in turn."""
    rates: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(plan.blocks):
        for name, way in ways.items():
            rates[name].append(throughput(service, way, one.data, requests, plan.connections))
    return rates


def _memory(service: Service, ways: Mapping[str, Way], one: Picture) -> dict[str, int | None]:
    """Bytes that the service's memory grew by at most while it answered one request; None where nobody may know."""
    grown: dict[str, int | None] = {}
    for name, way in ways.items():
        before = service.rss_bytes()
        known = service.reset_peak()
        throughput(service, way, one.data, 1, 1)
        grown[name] = service.peak_bytes() - before if known else None
    return grown


def _figures(repetitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one picture: by way, quantiles and ratios to plain over all repetitions, with the runs that they come from."""
    figures: dict[str, Any] = {}
    plain: list[Timing] = [one for run in repetitions for one in run["timings"]["plain"]]
    plain_rates = [rate["requests_per_s"] for run in repetitions for rate in run["rates"]["plain"]]
    for name in repetitions[0]["timings"]:
        timings: list[Timing] = [one for run in repetitions for one in run["timings"][name]]
        rates = [rate for run in repetitions for rate in run["rates"][name]]
        serve, reference = [one.serve for one in timings], [one.serve for one in plain]
        whole = [one.seal + one.serve + one.open for one in timings]
        per_s = [rate["requests_per_s"] for rate in rates]
        figures[name] = {
            "requests": len(timings),
            "p50_ms": round(quantile(serve, 0.5), 3),
            "p95_ms": round(quantile(serve, 0.95), 3),
            "with_client_p50_ms": round(quantile(whole, 0.5), 3),
            "with_client_p95_ms": round(quantile(whole, 0.95), 3),
            "requests_per_s": round(quantile(per_s, 0.5), 3),
            "service_cpu_ms": round(quantile([rate["service_cpu_ms"] for rate in rates], 0.5), 3),
            "memory_growth_bytes": [run["memory"][name] for run in repetitions],
            "to_plain": {
                "p50": asdict(ratio(serve, reference, 0.5)),
                "p95": asdict(ratio(serve, reference, 0.95)),
                "p50_of_repetitions": [_p50_ratio(run["timings"], name) for run in repetitions],
                "with_client_p50": asdict(ratio(whole, reference, 0.5)),
                "added_ms": difference_ms(serve, reference),
                "requests_per_s": asdict(ratio(per_s, plain_rates, 0.5)),
            },
            "runs": {
                "columns": ["seal_ms", "serve_ms", "open_ms"],
                "latencies": [[[one.seal, one.serve, one.open] for one in run["timings"][name]] for run in repetitions],
                "requests_per_s": [
                    [round(rate["requests_per_s"], 3) for rate in run["rates"][name]] for run in repetitions
                ],
            },
        }
    return figures


def _p50_ratio(timings: Mapping[str, list[Timing]], name: str) -> float:
    sealed, plain = (quantile([one.serve for one in timings[way]], 0.5) for way in (name, "plain"))
    return round(sealed / plain, 4)


def _parts(plan: Plan, pictures: list[Picture], scratch: Path) -> dict[str, Any]:
    folder = scratch / "parts"
    folder.mkdir()
    opening = {
        name: {one.label: alone.costs(ends, one.data, _repeats(plan.repeats, one)) for one in pictures}
        for name, ends in alone.both_ends(folder).items()
    }
    return {
        "processor_ms": opening,
        "replay_store_ms": alone.replay_costs(folder, 3 * plan.repeats),
        "audit_record_ms": alone.audit_costs(folder, 3 * plan.repeats),
    }


def _repeats(most: int, one: Picture) -> int:
    return max(5, min(most, 60_000_000 // len(one.data)))


def summary(measured: Mapping[str, Any]) -> str:
    """The figures for a terminal."""
    lines = [f"{'network':<20} {'picture':<8} {'way':<16} {'p50 ms':>8} {'p95 ms':>8} {'to plain':>24} {'per s':>8}"]
    for network, by_picture in measured["networks"].items():
        for label, by_way in by_picture.items():
            for way, one in by_way.items():
                p50 = one["to_plain"]["p50"]
                against = f"{p50['value']:.3f} ({p50['low']:.3f} to {p50['high']:.3f})"
                lines.append(
                    f"{network:<20} {label:<8} {way:<16} {one['p50_ms']:>8.2f} {one['p95_ms']:>8.2f} {against:>24} "
                    f"{one['requests_per_s']:>8.2f}"
                )
    return "\n".join(lines)


def tables(measured: Mapping[str, Any]) -> dict[str, str]:
    """What docs/performance.md says of the figures, by the mark that it stands behind."""
    return {"latency": _latency_table(measured), "parts": _parts_table(measured)}


def _latency_table(measured: Mapping[str, Any]) -> str:
    rows = [("network", "picture", "way", "p50", "p95", "p50, to plain", "added", "requests/s")]
    for network, by_picture in measured["networks"].items():
        for label, by_way in by_picture.items():
            for way, one in by_way.items():
                p50 = one["to_plain"]["p50"]
                against = (
                    f"{p50['value']:.3f} ({p50['low']:.3f} to {p50['high']:.3f})",
                    f"{one['to_plain']['added_ms']:.2f} ms",
                )
                times = f"{one['p50_ms']:.1f} ms", f"{one['p95_ms']:.1f} ms"
                compared = ("", "") if way == "plain" else against
                rows.append((network, label, way, *times, *compared, f"{one['requests_per_s']:.1f}"))
    return _markdown(rows)


def _parts_table(measured: Mapping[str, Any]) -> str:
    parts, labels = measured["parts"], list(measured["pictures"])
    rows = [("part", *labels)]
    for way, by_picture in parts["processor_ms"].items():
        rows.append((f"{way}: open", *(f"{by_picture[label]['open_ms']:.2f} ms" for label in labels)))
    for way, by_picture in parts["processor_ms"].items():
        rows.append(
            (f"{way}: memory to open", *(f"{by_picture[label]['open_peak_bytes'] / 1e6:.2f} MB" for label in labels))
        )
    sealing = {
        way: max(one["seal_answer_ms"] for one in costs.values()) for way, costs in parts["processor_ms"].items()
    }
    sqlite, memory = parts["replay_store_ms"]["sqlite"], parts["replay_store_ms"]["memory"]
    said = (
        f"Sealing an answer of boxes: {sealing['ohttp']:.2f} ms; as an AWS message {sealing['aws-encryption-sdk']:.1f} ms.\n"
        f"Remembering an envelope: {sqlite['p50_ms']:.3f} ms in SQLite ({sqlite['awaited_p50_ms']:.2f} ms with the thread that "
        f"it is done in), {memory['p50_ms']:.4f} ms in memory.\nA record of the audit log: "
        f"{parts['audit_record_ms']['p50_ms']:.3f} ms."
    )
    return f"{_markdown(rows)}\n\n{said}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((head, "|---" * len(rows[0]) + "|", *others))


def write_tables(measured: Mapping[str, Any], document: Path) -> None:
    """Put the tables where the document has marks for them."""
    text = document.read_text()
    for name, table in tables(measured).items():
        mark = f"<!-- sealed, {name}: written by make bench -->\n"
        before, _, after = text.partition(mark)
        text = f"{before}{mark}{table}\n{_END}{after.partition(_END)[2]}"
    document.write_text(text)


if __name__ == "__main__":
    main()
