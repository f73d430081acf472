"""Records as people write them, one JSON object a line: the answer's fields and `image_path`. Every line is checked.

A line that does not hold is quarantined with its number, its text and every reason, never mended and never dropped. Knows
nothing of what is on the pictures (training/vlm/checking.py opens them) or of splits. JSON Lines (jsonlines.org).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from safelight.errors import AnswerInvalid, ConfigError, DataError
from safelight.reader.task import Task, strict_json
from training.data.files import inside

IMAGE_PATH = "image_path"
"""The field that names the picture, relative to the folder of the JSONL; all others are the answer."""

MAX_LINE_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"

Kind = Literal["json", "object", "image_path", "schema", "picture", "quality", "duplicate", "contradiction"]


@dataclass(frozen=True)
class Reason:
    """Why a line cannot be used. place: JSON Pointer into the line, empty for all of it. message: for the line's owner."""

    kind: Kind
    place: str
    message: str


@dataclass(frozen=True)
class Quarantined:
    """A line that was set aside. file: its name. line: from 1. text: as it stands; bytes that are no UTF-8 are escaped as
    PEP 383 has it, so that none is lost."""

    file: str
    line: int
    reasons: tuple[Reason, ...]
    text: str


@dataclass(frozen=True)
class Record:
    """A line that holds, its picture not yet opened. image_path: as written. answer: in the schema's order. text: the line.
    split: the one that its file is named after, if it is."""

    file: str
    line: int
    image_path: str
    picture: Path
    answer: dict[str, Any]
    text: str
    split: str | None = None


@dataclass(frozen=True)
class Listing:
    """What files hold. lines: all that are not blank; each is a record or quarantined."""

    records: tuple[Record, ...]
    quarantined: tuple[Quarantined, ...]
    lines: int


def read_records(path: Path, task: Task, ignore: Sequence[str] = (), split: str | None = None) -> Listing:
    """The lines of a JSONL, each a record or quarantined; blank ones are passed over. ignore: fields that are no part of the
    answer. Raises ConfigError where the schema or `ignore` claims `image_path`, and DataError where the file cannot be read.
    """
    if IMAGE_PATH in task.fields or IMAGE_PATH in ignore:
        raise ConfigError(f"schema: {IMAGE_PATH!r} names a record's picture, so it cannot be a field of the answer.")
    records: list[Record] = []
    quarantined: list[Quarantined] = []
    for line, data in _lines(path):
        found = _record(path, line, data, task, frozenset(ignore), split)
        if isinstance(found, Record):
            records.append(found)
        else:
            quarantined.append(found)
    return Listing(tuple(records), tuple(quarantined), len(records) + len(quarantined))


def write_quarantine(path: Path, quarantined: Sequence[Quarantined]) -> None:
    """One JSON object a line, in the order of files and lines, ASCII alone."""
    ordered = sorted(quarantined, key=lambda q: (q.file, q.line))
    path.write_text("".join(f"{json.dumps(asdict(q))}\n" for q in ordered), "ascii")


def kinds(quarantined: Sequence[Quarantined]) -> dict[str, int]:
    """How many lines there are of each kind of reason, most frequent first; a line may have several."""
    return dict(Counter(kind for q in quarantined for kind in {r.kind for r in q.reasons}).most_common())


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank, without their ends."""
    try:
        with path.open("rb") as file:
            for number, data in enumerate(file, 1):
                own = data.removeprefix(_BOM) if number == 1 else data
                if own.strip():
                    yield number, own.rstrip(b"\r\n")
    except OSError:
        raise DataError(f"{path.name}: expected a file of records that can be read.") from None


def _record(
    path: Path, line: int, data: bytes, task: Task, ignore: frozenset[str], split: str | None
) -> Record | Quarantined:
    text = data.decode("utf-8", "surrogateescape")
    fields, reasons = _fields(data, text)
    name = fields.get(IMAGE_PATH)
    picture, bad = _picture(path.parent, name) if fields else (None, [])
    reasons += bad
    answer = {key: value for key, value in fields.items() if key != IMAGE_PATH and key not in ignore}
    if fields:
        reasons += [
            Reason("schema", v.place, f"{v.message} ({v.rule or '/'} of the schema)") for v in task.violations(answer)
        ]
    if not reasons:
        try:
            answer = task.parse(task.text(answer))
        except AnswerInvalid as error:  # half a surrogate pair, a number out of range
            reasons.append(Reason("json", "", error.detail))
    if reasons or picture is None:
        return Quarantined(path.name, line, tuple(reasons), text)
    return Record(path.name, line, str(name), picture, answer, text, split)


def _fields(data: bytes, text: str) -> tuple[dict[str, Any], list[Reason]]:
    """The fields of a line, or why there are none."""
    if len(data) > MAX_LINE_BYTES:
        return {}, [Reason("json", "", f"expected at most {MAX_LINE_BYTES} bytes a line, got {len(data)}")]
    try:
        data.decode()
        value = strict_json(text)
    except UnicodeDecodeError as error:
        return {}, [Reason("json", "", f"expected UTF-8, got another byte at {error.start}")]
    except AnswerInvalid as error:
        return {}, [Reason("json", "", error.detail)]
    if not isinstance(value, dict) or not value:
        return {}, [Reason("object", "", f"expected an object with fields, got {type(value).__name__}")]
    return value, []


def _picture(root: Path, name: Any) -> tuple[Path | None, list[Reason]]:
    """The picture that a record names, or why there is none."""
    place = f"/{IMAGE_PATH}"
    if not isinstance(name, str) or not name:
        return None, [Reason("image_path", place, "expected the path of a picture")]
    path = inside(root, root, name)
    if path is not None:
        return path, []
    if _leaves(root, name):
        return None, [Reason("image_path", place, "the path leads out of the folder of the records")]
    return None, [Reason("picture", place, "there is no such file")]


def _leaves(root: Path, name: str) -> bool:
    text = name.replace("\\", "/")
    try:
        return ".." in PurePosixPath(text).parts or not (root / text).resolve().is_relative_to(root.resolve())
    except (OSError, ValueError):  # a name that no file can have
        return False
