"""MLflow: the run of a training, and the model that is registered from it.

Knows nothing of bundles, aliases or serving. The tracking server is any that `MLFLOW_TRACKING_URI` names, by default an
SQLite file in the working directory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import mlflow
import onnx
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

from safelight.manifest import Pinned
from training.registry import adapter_flavor
from training.registry.registered import BUNDLE_VERSION, Registered

WEIGHTS_SHA256 = "weights_sha256"
"""The tag that says which weights a run made."""


_NEEDED = ("numpy", "onnx", "onnxruntime")
"""What a graph needs to answer. MLflow would find out by starting a process that loads it, which takes seconds."""


def open_run(
    tracking_uri: str, experiment: str, run_name: str, tags: Mapping[str, str], artifacts: str | None = None
) -> str:
    """Begin a run and return its id; it stays open until `close_run`.

    artifacts: where an experiment that does not exist yet is to keep its files (`s3://bucket/folder`); None leaves it to
    the server.
    """
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment, artifacts)
    return str(client.create_run(experiment_id, run_name=run_name, tags=dict(tags)).info.run_id)


def tag_run(tracking_uri: str, run_id: str, tags: Mapping[str, str]) -> None:
    """Tag a run, whether it is open or closed."""
    client = MlflowClient(tracking_uri)
    for key, value in tags.items():
        client.set_tag(run_id, key, value)


def weights_tag(weights: Path) -> dict[str, str]:
    """The tag by which the run that made a weights file is found again, on any machine that has the file."""
    with weights.open("rb") as file:
        return {WEIGHTS_SHA256: hashlib.file_digest(file, "sha256").hexdigest()}


def find_run(tracking_uri: str, experiment: str, tags: Mapping[str, str]) -> str | None:
    """The newest run of an experiment that carries these tags, if any."""
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    runs = client.search_runs([found.experiment_id], query, order_by=["start_time DESC"], max_results=1)
    return str(runs[0].info.run_id) if runs else None


def close_run(tracking_uri: str, run_id: str, failed: bool) -> None:
    """End a run."""
    MlflowClient(tracking_uri).set_terminated(run_id, "FAILED" if failed else "FINISHED")


@dataclass(frozen=True)
class Lineage:
    """What is logged beside a model, to the run that it came from. tags: of the entry, the bundle's version among them.
    artifacts: files and folders, each with the folder to log it into. data: name, source and digest of the training data,
    recorded as the run's input. params: of the run; one that has a value keeps it."""

    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    artifacts: Sequence[tuple[str, Path]] = ()
    data: Mapping[str, str] | None = None
    params: Mapping[str, str] = field(default_factory=dict)


def register(
    tracking_uri: str,
    run_id: str,
    name: str,
    model_path: Path,
    example: NDArray[Any],
    outputs: Mapping[str, NDArray[Any]],
    *,
    input_name: str,
    lineage: Lineage,
) -> Registered:
    """Log an ONNX file to its training run and register it.

    example: a batch for `input_name`; outputs: what the graph answers to it, for the signature.
    """
    signature: ModelSignature = infer_signature({input_name: example}, dict(outputs))

    def log() -> Any:
        return mlflow.onnx.log_model(
            onnx.load(str(model_path)),
            name="model",
            signature=signature,
            input_example={input_name: example},
            save_as_external_data=False,
            onnx_execution_providers=["CPUExecutionProvider"],
            registered_model_name=name,
            tags=dict(lineage.tags),
            pip_requirements=[f"{package}=={package_version(package)}" for package in _NEEDED],
        )

    return _registered(tracking_uri, run_id, name, lineage, log)


def register_adapter(
    tracking_uri: str, run_id: str, name: str, bundle: Path, base: Pinned, rank: int, *, lineage: Lineage
) -> Registered:
    """Log what adapts a base to its training run and register it: no weight of the base is logged. bundle: its folder."""

    def log() -> Any:
        return Model.log(
            artifact_path=None,
            flavor=adapter_flavor,
            name="model",
            registered_model_name=name,
            tags=dict(lineage.tags),
            bundle=bundle,
            base=base,
            rank=rank,
        )

    return _registered(tracking_uri, run_id, name, lineage, log)


def _registered(tracking_uri: str, run_id: str, name: str, lineage: Lineage, log: Callable[[], Any]) -> Registered:
    """What `log` registered, with its lineage."""
    mlflow.set_tracking_uri(tracking_uri)
    client, data = MlflowClient(tracking_uri), lineage.data
    with mlflow.start_run(run_id=run_id):
        known = client.get_run(run_id).data.params
        mlflow.log_params({key: value for key, value in lineage.params.items() if key not in known})
        mlflow.log_metrics(dict(lineage.metrics))
        for folder, path in lineage.artifacts:
            mlflow.log_artifact(str(path), folder)
        if data is not None:
            source = CodeDatasetSource({"path": data["source"]})
            mlflow.log_input(MetaDataset(source, name=data["name"], digest=data["digest"][:36]), context="training")
        logged = log()
    version = str(logged.registered_model_version)
    for key, value in lineage.tags.items():
        client.set_model_version_tag(name, version, key, value)
    return Registered(name, version, run_id, lineage.tags.get(BUNDLE_VERSION, ""))


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
