"""python -m safelight.audit verify|head|summary [FOLDER]: whether an audit log is whole, and what is in it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from safelight.audit.index import NAME, Mark
from safelight.audit.key import key_name, read_public_key
from safelight.audit.lines import read
from safelight.audit.log import SUFFIX
from safelight.audit.verify import latest, verify
from safelight.errors import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 when all holds, 1 when something does not, 2 when it cannot be told."""
    parser = argparse.ArgumentParser(prog="python -m safelight.audit", description="Look at an audit log.")
    commands = parser.add_subparsers(dest="command", required=True)
    verifying = commands.add_parser("verify", help="check chains, signatures and the index")
    verifying.add_argument("--stopped", action="store_true", help="no service is writing: every file must be closed")
    verifying.add_argument("--expect", type=_mark, metavar="SEQ:DIGEST", help="an index entry that `head` gave before")
    commands.add_parser("head", help="print the last index entry, to be kept elsewhere")
    commands.add_parser("summary", help="count requests by route, protocol and status")
    for command in commands.choices.values():
        command.add_argument("folder", nargs="?", type=Path, default=Path(".safelight/audit"))
        command.add_argument("--public-key", type=Path, default=None, help="by default FOLDER.pub")
    options = parser.parse_args(arguments)
    try:
        return int(_COMMANDS[options.command](options))
    except ConfigError as error:
        print(error.detail, file=sys.stderr)
        return 2


def _verify(options: argparse.Namespace) -> int:
    key = read_public_key(_public_key(options))
    report = verify(options.folder, key, stopped=options.stopped, expect=options.expect)
    for fault in report.faults:
        print(f"FAULT {fault}")
    for note in report.notes:
        print(f"note  {note}")
    sealed = report.records - report.unsealed
    print(
        f"{'FAULTS' if report.faults else 'whole'}: {report.files} files, {sealed} records sealed by {key_name(key)}, "
        f"{report.unsealed} not yet"
    )
    return 1 if report.faults else 0


def _head(options: argparse.Namespace) -> int:
    mark, time = latest(options.folder, read_public_key(_public_key(options)))
    print(f"{mark.seq}:{mark.head} {time}")
    return 0


def _summary(options: argparse.Namespace) -> int:
    """Counts what is there, without verifying it."""
    counts: Counter[tuple[str, ...]] = Counter()
    for path in sorted(options.folder.glob(f"*{SUFFIX}")):
        if path.name == NAME:
            continue
        for data in path.read_bytes().splitlines():
            try:
                fields = read(data).fields
            except ValueError:
                continue
            if fields.get("kind") == "request":
                counts[tuple(str(fields.get(name)) for name in ("route", "protocol", "status", "refusal"))] += 1
    for what, count in counts.most_common():
        print(f"{count:8d}  {'  '.join(what)}")
    return 0


def _public_key(options: argparse.Namespace) -> Path:
    folder: Path = options.folder
    given: Path | None = options.public_key
    return folder.with_suffix(".pub") if given is None else given


def _mark(text: str) -> Mark:
    seq, _, head = text.partition(":")
    return Mark(int(seq), head)


_COMMANDS = {"verify": _verify, "head": _head, "summary": _summary}

if __name__ == "__main__":
    sys.exit(main())
