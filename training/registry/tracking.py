"""MLflow: the run of a training, the registered model, and its aliases.

Knows nothing of bundles or serving. The tracking server is any that `MLFLOW_TRACKING_URI` names, by
default an SQLite file in the working directory. Aliases, not stages: `@candidate` is the newest,
`@champion` the one that is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.models import ModelSignature, infer_signature
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

CANDIDATE = "candidate"
CHAMPION = "champion"


@dataclass(frozen=True)
class Registered:
    """A version in the registry and the run it came from."""

    name: str
    version: str
    run_id: str


def open_run(tracking_uri: str, experiment: str, run_name: str, tags: Mapping[str, str]) -> str:
    """Begin a run and return its id; it stays open until `close_run`."""
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    return str(client.create_run(experiment_id, run_name=run_name, tags=dict(tags)).info.run_id)


def close_run(tracking_uri: str, run_id: str, failed: bool) -> None:
    """End a run."""
    MlflowClient(tracking_uri).set_terminated(run_id, "FAILED" if failed else "FINISHED")


def register(
    tracking_uri: str,
    run_id: str,
    name: str,
    model_path: Path,
    example: NDArray[np.float32],
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    input_name: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    artifacts: Mapping[str, Path],
    data: Mapping[str, str] | None,
) -> Registered:
    """Log an ONNX file to its training run and register it as `@candidate`.

    example: a batch for `input_name`; outputs: what the graph answers to it, for the signature. artifacts: further files
    by folder. data: name, source and digest of the training data, recorded as the run's input.
    """
    mlflow.set_tracking_uri(tracking_uri)
    signature: ModelSignature = infer_signature({input_name: example}, dict(outputs))
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metrics(dict(metrics))
        for folder, path in artifacts.items():
            mlflow.log_artifact(str(path), folder)
        if data is not None:
            source = CodeDatasetSource({"path": data["source"]})
            mlflow.log_input(MetaDataset(source, name=data["name"], digest=data["digest"][:36]), context="training")
        logged = mlflow.onnx.log_model(
            onnx.load(str(model_path)),
            name="model",
            signature=signature,
            input_example={input_name: example},
            save_as_external_data=False,
            onnx_execution_providers=["CPUExecutionProvider"],
            registered_model_name=name,
            tags=dict(tags),
        )
    version = str(logged.registered_model_version)
    client = MlflowClient(tracking_uri)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, CANDIDATE, version)
    return Registered(name, version, run_id)


def find_version(tracking_uri: str, name: str, tag: str, value: str) -> Registered | None:
    """The newest registered version that carries this tag, if any."""
    client = MlflowClient(tracking_uri)
    found = [v for v in client.search_model_versions(f"name = '{name}'") if v.tags.get(tag) == value]
    if not found:
        return None
    newest = max(found, key=lambda version: int(version.version))
    return Registered(name, str(newest.version), str(newest.run_id))


def set_champion(tracking_uri: str, registered: Registered) -> None:
    """Point `@champion` at a version."""
    MlflowClient(tracking_uri).set_registered_model_alias(registered.name, CHAMPION, registered.version)


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested metrics as MLflow takes them: `test/map50`. Nulls and texts are left out."""
    flat: dict[str, float] = {}
    for key, value in metrics.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flat_metrics(value, f"{path}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[path] = float(value)
    return flat
