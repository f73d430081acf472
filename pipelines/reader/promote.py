"""promote: the reader that was registered becomes the champion, if it passes the gates; or the champion before it comes back.

    python -m pipelines.reader.promote task=keys [version=XYZ] [--rollback]

Its base is put among the bundles before champion.json names what adapts it, so that no service is told of a reader that it
cannot open. All else is as `pipelines.promote` does it for detectors.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from pipelines.promote import Kind, decide, overrides
from pipelines.reader.judge import base_folder, judge
from pipelines.stage import stage
from safelight.errors import PromotionError
from training.registry.bases import base_of, take_in


def bring(cfg: DictConfig, folder: Path) -> None:
    """Put the base that the bundle in `folder` names among the bundles. Raises PromotionError when it is nowhere."""
    bundles, base = Path(cfg.paths.bundles), base_of(folder)
    if base is None:
        raise PromotionError("Expected a reader's bundle, which names its base.")
    where = base_folder(base, folder, bundles)
    if where is None:
        raise PromotionError(f"Expected the base {base.name} {base.version}. Run the register stage again.")
    if where.parent != bundles / base.name:
        take_in(where, bundles / base.name, linked=True)


READERS = Kind(judge, bring)


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Promote the candidate of `cfg.name`, or the version asked for, or roll back."""
    decide(cfg, READERS)


if __name__ == "__main__":
    sys.argv[1:] = overrides(sys.argv[1:])
    main()
