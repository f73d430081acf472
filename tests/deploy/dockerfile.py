"""A Dockerfile as instructions: as much of its syntax as deploy/Dockerfile uses."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

DOCKERFILE = ROOT / "deploy/Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """name: in capitals. text: what follows, on one line."""

    name: str
    text: str


def last_stage(path: Path = DOCKERFILE) -> list[Instruction]:
    """The instructions of the image itself, FROM included."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]
    return found[max(i for i, one in enumerate(found) if one.name == "FROM") :]


def environment(stage: list[Instruction]) -> dict[str, str]:
    """What ENV sets."""
    pairs = [word.split("=", 1) for one in stage if one.name == "ENV" for word in shlex.split(one.text)]
    return dict(pairs)


def command(stage: list[Instruction], name: str) -> list[str]:
    """The words of ENTRYPOINT, CMD or HEALTHCHECK; fails when they are not in the form that needs no shell."""
    (text,) = (one.text for one in stage if one.name == name)
    words = json.loads(text[text.index("[") :])
    assert words and all(isinstance(word, str) for word in words)
    return words


def copies(stage: list[Instruction]) -> list[tuple[str, str]]:
    """(from the project, to the image) of each COPY that is not from another stage, as absolute paths of the image."""
    (folder,) = (one.text for one in stage if one.name == "WORKDIR")
    found = []
    for one in stage:
        if one.name == "COPY" and "--from" not in one.text:
            *sources, target = one.text.split()
            found += [(source, str(Path(folder) / target)) for source in sources]
    return found
