"""package: the readers with their bases, the detectors that there are, and the gateway as a Bento."""

from __future__ import annotations

from omegaconf import DictConfig

from pipelines.package import package
from pipelines.stage import stage


@stage("reader_package")
def main(cfg: DictConfig) -> None:
    """See `pipelines.package`."""
    package(cfg)


if __name__ == "__main__":
    main()
