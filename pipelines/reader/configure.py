"""configure: composes a reader's configuration and writes down, for each stage, the part that the stage reads.

As pipelines/configure.py does for detectors: DVC watches these files, so that a changed value runs the stages that read it
and no others.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from pipelines.slices import READS_OF_READERS, watched
from pipelines.stage import stage


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Write STAGE.yaml for every stage into `cfg.out.configure`."""
    folder = Path(cfg.out.configure)
    folder.mkdir(parents=True, exist_ok=True)
    for name in READS_OF_READERS:
        watching = OmegaConf.create(watched(cfg, name))
        (folder / f"{name.removeprefix('reader.')}.yaml").write_text(OmegaConf.to_yaml(watching, sort_keys=True))
    Console(soft_wrap=True).print(f"configure: {cfg.name}")


if __name__ == "__main__":
    main()
