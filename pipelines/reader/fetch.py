"""fetch: bring the language model of the reader's own base model, pinned as everything that is fetched."""

from __future__ import annotations

from omegaconf import DictConfig

from pipelines.fetch import fetch
from pipelines.stage import stage


@stage("reader_fetch")
def main(cfg: DictConfig) -> None:
    """See `pipelines.fetch`."""
    fetch(cfg)


if __name__ == "__main__":
    main()
