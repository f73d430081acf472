"""release: from trained weights to a model that is served: evaluate, export, register, promote, one after the other.

For a model of your own, which dvc.yaml does not know. Each of the four is a command too, and ends this one when it fails.
"""

from __future__ import annotations

from omegaconf import DictConfig

from pipelines import evaluate, export, promote, register
from pipelines.stage import stage

STEPS = (evaluate, export, register, promote)


@stage("train")
def main(cfg: DictConfig) -> None:
    """Run the four stages on `cfg`."""
    for step in STEPS:
        step.main(cfg)


if __name__ == "__main__":
    main()
