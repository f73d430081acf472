"""The data card of somebody's own data, as far as it can be known: a template with counts, for a person to complete.

Knows nothing of how the data were read. After Gebru et al., "Datasheets for Datasets", CACM 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNKNOWN = "unknown: fill in"


def card(report: Mapping[str, Any], private: bool) -> str:
    """Markdown of a data card. report: training/data/summary.py's."""
    name = _plain(report["name"])
    boxes = sum(split["boxes"] for split in report["splits"].values())
    said = (
        "**Yes.** Pictures are not logged and not shown in reports"
        if private
        else "**No.** Pictures may be logged and shown"
    )
    rows = [
        ("What", _UNKNOWN),
        ("Origin", _UNKNOWN),
        ("Licence", _UNKNOWN),
        ("Private", said),
        ("Format", f"{report['format']}: {_plain(report['format_because'])}"),
        ("Splits", _plain(report["splits_because"])),
    ]
    lines = [
        f"# Data card: {name}",
        "",
        "Written by the prepare stage, which writes it anew each time. To complete it, copy it to "
        f"`data/{name}.md` and say `data.card=data/{name}.md` (and `data.private=false` if pictures may be shown).",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in rows),
        "",
        "## Counts",
        "",
        f"{report['pictures']} pictures, {boxes} boxes, {_many(len(report['labels']), 'class', 'classes')}. "
        f"{_many(sum(q['bad'] for q in report['quarantined']), 'bad record was', 'bad records were')} set aside.",
        "",
        "| class | " + " | ".join(report["splits"]) + " |",
        "|---|" + "---|" * len(report["splits"]),
        *(
            f"| {_plain(label)} | "
            + " | ".join(str(s["boxes_by_class"][label]) for s in report["splits"].values())
            + " |"
            for label in report["labels"]
        ),
        "",
        "## Know before you use it",
        "",
        f"- Who drew the boxes, and by which rules: {_UNKNOWN}",
        f"- People, plates or dwellings on the pictures: {_UNKNOWN}",
        f"- What the pictures do not show (seasons, places, cameras): {_UNKNOWN}",
        "",
    ]
    return "\n".join(lines)


def _many(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _plain(text: str) -> str:
    """Text that cannot leave its cell of a table."""
    return " ".join(text.replace("|", "\\|").split())
