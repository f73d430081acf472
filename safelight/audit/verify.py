"""Checking an audit folder against a public key. Reads, never writes; a service may go on writing meanwhile.

What the caller still owes: a public key that came from elsewhere than the folder, and, to know that nothing newer was
taken away, an index entry that was kept elsewhere (`expect`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from safelight.audit.index import NAME, Mark
from safelight.audit.lines import FIRST, Line, read, signed_by
from safelight.audit.log import SUFFIX
from safelight.errors import ConfigError

_SEALED = ("opened", "checkpoint", "closed")
_UNSEALED = ("request", "gap")


@dataclass
class Report:
    """faults: what must not be. notes: what cannot be told, or is not sealed yet. Each names a file and a line."""

    files: int = 0
    records: int = 0
    unsealed: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Entry:
    """What the index says of a file: that its line number `lines` has this digest, and is of this kind."""

    seq: int
    kind: str
    file: str
    lines: int
    head: str


def verify(folder: Path, key: Ed25519PublicKey, *, stopped: bool = False, expect: Mark | None = None) -> Report:
    """stopped: no service is writing, so every file must be closed. expect: an index entry that was seen before.

    Raises ConfigError when there is no index to read.
    """
    report = Report()
    # 1. The index as it is now: what the files must hold at least.
    before = _read_index(folder, key, Report())[0]
    # 2. Every file: chain, signatures, and what it says of the index.
    found: dict[str, tuple[list[Line], bool]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name != NAME:
            found[path.name] = _read_file(path, key, report)
    # 3. The index again, since it may have grown: what the files may refer to.
    entries, heads = _read_index(folder, key, report)
    for name, (lines, whole) in found.items():
        _check_links(name, lines, heads, report)
        _check_end(name, lines, whole, [entry for entry in entries if entry.file == name], stopped, report)
    # 4. The files against the index.
    _check_entries(before, found, report)
    if expect is not None and (expect.seq >= len(heads) or heads[expect.seq] != expect.head):
        report.faults.append(f"{NAME}: does not hold the expected entry {expect.seq}: cut, or another's")
    report.files = len(found)
    return report


def latest(folder: Path, key: Ed25519PublicKey) -> tuple[Mark, str]:
    """The last entry of the index and when it was made, to be kept elsewhere. Raises ConfigError."""
    report = Report()
    _, heads = _read_index(folder, key, report)
    if report.faults or not heads:
        raise ConfigError("Expected an index without faults and with entries: verify it.")
    last = read(_lines(folder / NAME)[0][-1])
    return Mark(len(heads) - 1, heads[-1]), str(last.fields["time"])


def _lines(path: Path) -> tuple[list[bytes], bool]:
    """The whole lines of a file, and whether there is something behind the last."""
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read ({type(error).__name__}).") from None
    return lines, bool(rest)


def _read_index(folder: Path, key: Ed25519PublicKey, report: Report) -> tuple[list[_Entry], list[str]]:
    """What the index says, and the digest of each of its lines, up to the first that does not hold."""
    raw, torn = _lines(folder / NAME)
    lines = _chain(NAME, raw, report)
    entries: list[_Entry] = []
    for number, line in enumerate(lines, 1):
        say = line.fields
        if not signed_by(line, key):
            report.faults.append(f"{NAME}:{number}: no signature by this key")
            return entries, [line.digest for line in lines[: number - 1]]
        if say["kind"] in _SEALED:
            entries.append(_Entry(number - 1, say["kind"], str(say["file"]), int(say["lines"]), str(say["head"])))
    if torn:
        report.faults.append(f"{NAME}:{len(raw) + 1}: ends within a line")
    return entries, [line.digest for line in lines]


def _read_file(path: Path, key: Ed25519PublicKey, report: Report) -> tuple[list[Line], bool]:
    """The lines of a worker's file that hold, and whether all do."""
    raw, torn = _lines(path)
    lines = _chain(path.name, raw, report)
    whole = len(lines) == len(raw)
    for number, line in enumerate(lines, 1):
        fault = _fault(path.name, number, line, key, last=number == len(raw))
        if fault is not None:
            report.faults.append(f"{path.name}:{number}: {fault}")
            return lines[: number - 1], False
    if torn:
        report.notes.append(f"{path.name}:{len(raw) + 1}: ends within a line: cut off, or being written")
    report.records += sum(line.fields["kind"] == "request" for line in lines)
    return lines, whole


def _chain(name: str, raw: list[bytes], report: Report) -> list[Line]:
    """Lines that are well-formed, numbered and chained, up to the first that is not."""
    lines: list[Line] = []
    head = FIRST
    for number, data in enumerate(raw, 1):
        try:
            line = read(data)
        except ValueError:
            report.faults.append(f"{name}:{number}: no line of an audit log")
            break
        if line.fields.get("seq") != number - 1:
            report.faults.append(f"{name}:{number}: expected number {number - 1}: lines were added, removed or moved")
            break
        if line.fields.get("prev") != head:
            report.faults.append(f"{name}:{number}: the line before was changed")
            break
        lines.append(line)
        head = line.digest
    return lines


def _fault(name: str, number: int, line: Line, key: Ed25519PublicKey, *, last: bool) -> str | None:
    """What is wrong with a line of a worker's file, by itself."""
    kind = line.fields.get("kind")
    if kind not in (*_SEALED, *_UNSEALED):
        return "unknown kind of line"
    if kind in _SEALED and not signed_by(line, key):
        return "no signature by this key"
    if (kind == "opened") != (number == 1):
        return "a file begins with the line that opened it, and no other does"
    if kind == "opened" and line.fields.get("file") != name:
        return "was written as another file"
    if kind == "closed" and not last:
        return "lines behind the end"
    return None


def _check_links(name: str, lines: list[Line], heads: list[str], report: Report) -> None:
    """Each sealed line names the index entry before it: an index that was cut lacks it."""
    for number, line in enumerate(lines, 1):
        if line.fields["kind"] not in _SEALED:
            continue
        seq, head = line.fields.get("index"), line.fields.get("index_head")
        if seq == -1 and head == FIRST:
            continue
        if not isinstance(seq, int) or not 0 <= seq < len(heads) or heads[seq] != head:
            report.faults.append(f"{NAME}: lacks entry {seq}, which {name}:{number} names: cut, or another's")
            return


def _check_end(name: str, lines: list[Line], whole: bool, entries: list[_Entry], stopped: bool, report: Report) -> None:
    """How far a file is sealed, and whether it was closed."""
    if not whole or not lines:
        if not lines and whole:
            report.faults.append(f"{name}: is empty")
        return
    sealed = max(number for number, line in enumerate(lines, 1) if line.fields["kind"] in _SEALED)
    tail = sum(line.fields["kind"] == "request" for line in lines[sealed:])
    report.unsealed += tail
    if not entries:
        report.faults.append(f"{name}: is not in {NAME}")
    elif entries[-1].lines < sealed:
        say = report.faults if stopped else report.notes
        say.append(f"{name}:{sealed}: is not in {NAME} yet: being written, interrupted, or the index was cut")
    if lines[-1].fields["kind"] != "closed":
        say = report.faults if stopped else report.notes
        say.append(f"{name}: {tail} records not sealed yet; open, or cut off since the last checkpoint (line {sealed})")


def _check_entries(entries: list[_Entry], found: dict[str, tuple[list[Line], bool]], report: Report) -> None:
    """Each file that the index names is there, and holds what was sealed."""
    reported = set()
    for entry in entries:
        if entry.file in reported:
            continue
        if entry.file not in found:
            report.faults.append(f"{entry.file}: is missing; {NAME}:{entry.seq + 1} names it")
            reported.add(entry.file)
            continue
        lines, whole = found[entry.file]
        if whole and (entry.lines > len(lines) or lines[entry.lines - 1].digest != entry.head):
            report.faults.append(f"{entry.file}: lacks line {entry.lines} as {NAME}:{entry.seq + 1} knows it: cut")
            reported.add(entry.file)
