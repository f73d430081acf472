"""An adapter as a model of MLflow's: LoRA matrices, the manifest and the card; its base by name, version and digest alone.

MLflow calls `save_model` of a flavour, which this module is. There is no `python_function` in it: an adapter cannot answer
without its base, whose weights are in no registry. Who wants answers serves the bundle (docs/reader/README.md).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from safelight.bundle import CARD, MANIFEST
from safelight.manifest import Pinned
from safelight.reader.manifest import ADAPTER

FLAVOR = "safelight_adapter"
FILES = (ADAPTER, MANIFEST, CARD)
"""Of the bundle; the signature is over a folder, and this is another one."""


def save_model(path: str, mlflow_model: Model, bundle: Path, base: Pinned, rank: int) -> None:
    """Write the model's folder. bundle: a reader's, verified."""
    folder = Path(path)
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(bundle / name, folder / name)
    mlflow_model.add_flavor(FLAVOR, data=ADAPTER, manifest=MANIFEST, rank=rank, base=base.model_dump())
    mlflow_model.save(str(folder / MLMODEL_FILE_NAME))
