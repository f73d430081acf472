"""The model card that travels in the bundle. Source of its sections: Mitchell et al., "Model Cards", FAT* 2019."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.bundle import Manifest
from safelight.reader.manifest import BaseManifest, ReaderManifest


def model_card(manifest: Manifest, about: Mapping[str, str]) -> str:
    """Markdown with what the model is, was trained on, reaches, and must not be used for.

    about: texts from the model's configuration: `summary`, `intended_use`, `limits`, `data`.
    """
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        about["summary"],
        "",
        "## Intended use",
        "",
        about["intended_use"],
        "",
        "## Limits",
        "",
        about["limits"],
        "",
        "## Data",
        "",
        about["data"],
        "",
        "## Metrics",
        "",
        *_table(manifest.metrics),
        "",
        "## Exported graph against the original",
        "",
        *_table(manifest.parity),
        "",
        "## Facts",
        "",
        f"- Task: {manifest.task}, {len(manifest.labels)} classes",
        f"- Licence: {manifest.licence}",
        f"- Code: commit `{manifest.git_commit}`",
        f"- Training data: {'SHA-256 `' + manifest.data_digest + '`' if manifest.data_digest else 'none of ours'}",
        "",
    ]
    return "\n".join(lines)


def reader_card(manifest: ReaderManifest, about: Mapping[str, str]) -> str:
    """The card of what adapts a base to a task. about: as above, and `misuse`."""
    lines = [
        f"# {manifest.name} {manifest.version}",
        *_told("", about["summary"]),
        *_told("Intended use", about["intended_use"]),
        *_told("Limits", about["limits"]),
        *_told("Misuse", about["misuse"]),
        *_told("Data", about["data"]),
        *_told("Question", f"> {manifest.prompt}"),
        *_told(
            "Metrics", *_shares(manifest.metrics), "", "All figures, with how they were measured, are in manifest.json."
        ),
        *_told("Exported graphs against torch", *_table(_flat_lists(manifest.parity))),
        *_told(
            "Facts",
            f"- Task: {manifest.task}; LoRA matrices of rank {manifest.rank}, and nothing else",
            f"- Base: {manifest.base.name} {manifest.base.version}, SHA-256 of its manifest `{manifest.base.digest}`",
            f"- Licence: {manifest.licence}",
            *_lineage(manifest),
        ),
        "",
    ]
    return "\n".join(lines)


def base_card(manifest: BaseManifest, about: Mapping[str, str]) -> str:
    """The card of a base that readers share. about: `summary`, `limits`, `source` (of its weights)."""
    of = manifest.architecture
    lines = [
        f"# {manifest.name} {manifest.version}",
        *_told("", about["summary"]),
        *_told(
            "Intended use",
            "To be adapted: a reader gives its graphs LoRA matrices with every request. By itself it answers nothing that was "
            "measured.",
        ),
        *_told("Limits", about["limits"]),
        *_told("Sources", about["source"]),
        *_told(
            "Facts",
            f"- {of.layers} layers of width {of.hidden}, {of.vocabulary} tokens, {of.positions} positions",
            f"- Pictures of {of.image_side} x {of.image_side} pixels, {of.image_tokens} tokens each",
            f"- Layers that take LoRA matrices: {len(of.adapted)}",
            f"- Decoders besides the exact one: {', '.join(manifest.variants) or 'none'}",
            f"- Licence: {manifest.licence}",
            *_lineage(manifest),
        ),
        *_told("Metrics", *_table(manifest.metrics)),
        "",
    ]
    return "\n".join(lines)


def _shares(metrics: Mapping[str, Any]) -> list[str]:
    """Every share of pictures that a reader's metrics have, `exact` or `valid`, with its 95 % interval, as rows of a table; the
    test split first."""
    first = {name: metrics[name] for name in ("test", "hard") if name in metrics}
    rows = [
        f"| {place} | {share['value']:.3f} ({share['low']:.3f} to {share['high']:.3f}) | {share['of']} |"
        for place, share in _found_shares({**first, **metrics}, ())
        if share["value"] is not None
    ]
    return ["| share of pictures | value (95 %) | of |", "|---|---|---|", *rows]


def _found_shares(values: Mapping[str, Any], place: tuple[str, ...]) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and name in ("exact", "valid") and {"value", "low", "high", "of"} <= set(value):
            found.append((" / ".join((*place, name)), value))
        elif isinstance(value, Mapping):
            found += _found_shares(value, (*place, name))
    return found


def _told(title: str, *lines: str) -> list[str]:
    return ["", *([f"## {title}", ""] if title else []), *lines]


def _lineage(manifest: ReaderManifest | BaseManifest) -> list[str]:
    data = f"SHA-256 `{manifest.data_digest}`" if manifest.data_digest else "none of ours"
    return [f"- Code: commit `{manifest.git_commit}`", f"- Training data: {data}"]


def _flat_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of rows by their first value, as a table has them."""
    return {
        key: {str(row[0]): " of ".join(map(str, reversed(row[1:]))) for row in value}
        if isinstance(value, list) and all(isinstance(row, list | tuple) and row for row in value)
        else value
        for key, value in values.items()
    }


def _table(values: Mapping[str, Any]) -> list[str]:
    rows = [f"| {name} | {value} |" for name, value in _flat(values)]
    return ["| figure | value |", "|---|---|", *rows]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name} / ")
        elif isinstance(value, float):
            rows.append((name, f"{value:.4g}"))
        elif isinstance(value, list):
            rows.append((name, " to ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value)))
        else:
            rows.append((name, "not measured" if value is None else str(value)))
    return rows
