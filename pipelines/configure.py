"""configure: composes a model's configuration and writes down, for each stage, the part that the stage reads.

DVC does not know how Hydra composes. It watches these files instead of conf/, so that a changed value runs the stages that
read it and no others.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from pipelines.slices import READS, watched
from pipelines.stage import stage


@stage("train")
def main(cfg: DictConfig) -> None:
    """Write STAGE.yaml for every stage into `cfg.out.configure`."""
    folder = Path(cfg.out.configure)
    folder.mkdir(parents=True, exist_ok=True)
    for name in READS:
        (folder / f"{name}.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(watched(cfg, name)), sort_keys=True))
    Console(soft_wrap=True).print(f"configure: {cfg.name}")


if __name__ == "__main__":
    main()
