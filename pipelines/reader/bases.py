"""bases: which bases lie among the bundles, and who needs them. With `remove`, one goes.

    python -m pipelines.reader.bases [remove=unused | remove=VERSION]

`unused` removes those that no champion, no challenger and no champion before names; by its version a base goes that only a
champion before names, to which one can then not return. One that is served stays, whatever is said.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from pipelines.stage import stage
from safelight.errors import PromotionError
from training.registry.needs import Base, bases, remove

UNUSED = "unused"


@stage("reader_bases")
def main(cfg: DictConfig) -> None:
    """List them, or remove what is asked for."""
    console = Console(soft_wrap=True, highlight=False)
    found = bases(Path(cfg.paths.bundles))
    if cfg.remove is None:
        for base in found:
            console.print(f"bases: {base.pinned.name} {base.pinned.version}: {needed(base)}")
        return
    for base in chosen(found, str(cfg.remove)):
        remove(base)
        console.print(f"bases: {base.pinned.name} {base.pinned.version} is removed")


def chosen(found: list[Base], wanted: str) -> list[Base]:
    """The bases to remove. Raises PromotionError when there is none of the version asked for."""
    if wanted == UNUSED:
        return [base for base in found if not base.served and not base.returns]
    named = [base for base in found if base.pinned.version == wanted]
    if not named:
        raise PromotionError(f"This folder of bundles has no base of version {wanted}.")
    return named


def needed(base: Base) -> str:
    """Who needs it, in words."""
    if base.served:
        return ", ".join(base.served)
    return f"to return to a champion before of {', '.join(base.returns)}" if base.returns else "nobody"


def overrides(arguments: list[str]) -> list[str]:
    """The command line as Hydra takes it: versions are quoted, for 12e456789012 would be read as a number."""
    return [re.sub(r"^remove=([a-z0-9-]+)$", r"remove='\1'", given) for given in arguments]


if __name__ == "__main__":
    sys.argv[1:] = overrides(sys.argv[1:])
    main()
