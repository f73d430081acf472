"""Tables of figures in documents: Markdown between marks, so that a document says what was measured last.

Knows nothing of what the figures mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_END = "<!-- end -->"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((head, "|---" * len(rows[0]) + "|", *others))


def put_table(document: Path, mark: str, table: str) -> bool:
    """Put a table between `<!-- MARK -->` and the next `<!-- end -->`, in place of what stands there. Whether there is a
    document with that mark; one without is left as it is."""
    if not document.is_file():
        return False
    opening = f"<!-- {mark} -->\n"
    before, found, after = document.read_text().partition(opening)
    if found:
        document.write_text(f"{before}{opening}{table}\n{_END}{after.partition(_END)[2]}")
    return bool(found)
