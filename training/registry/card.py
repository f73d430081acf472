"""The model card that travels in the bundle. Source of its sections: Mitchell et al., "Model Cards", FAT* 2019."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.bundle import Manifest


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
