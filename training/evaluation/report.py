"""The report as one HTML page that needs nothing beside it. Knows nothing of how its sections came about.

Everything that is filled in is escaped: labels and names of pictures are other people's text.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATE = "report.html.j2"
_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff\xe0": "image/jpeg"}


@dataclass(frozen=True)
class Picture:
    """PNG or JPEG bytes with what they show in words."""

    data: bytes
    caption: str

    @property
    def uri(self) -> str:
        """The picture as a data URI. Raises ValueError when it is neither PNG nor JPEG."""
        media_type = _TYPES.get(self.data[:4])
        if media_type is None:
            raise ValueError("expected PNG or JPEG bytes")
        return f"data:{media_type};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Section:
    """A heading with, each optional, a note, a table and pictures; `wide` pictures are shown larger."""

    title: str
    note: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    pictures: Sequence[Picture] = ()
    wide: bool = False


def page(name: str, subtitle: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """The HTML page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template(_TEMPLATE)
    return template.render(name=name, subtitle=subtitle, notes=notes, sections=sections)


def said(value: float | int | str | None, digits: int = 3) -> str:
    """A cell of a table: a dash where nothing was measured."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
