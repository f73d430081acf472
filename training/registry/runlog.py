"""What a run in MLflow shows of a training: its settings and its history, each figure once even if told again.

Knows nothing of learners: settings are nested plain values, a history is rows with a `step`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

_PARAMS_A_CALL = 100
_METRICS_A_CALL = 1000
_LONGEST_PARAM = 500


class RunLog:
    """Writes to one run. A run that goes on after an interruption keeps what it has; what is missing is added."""

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        self._client, self._run_id = MlflowClient(tracking_uri), run_id
        self._logged: set[tuple[str, int]] | None = None

    def reopen(self) -> bool:
        """Mark an interrupted run as running again. False when the server does not know it, or it was deleted."""
        try:
            if self._client.get_run(self._run_id).info.lifecycle_stage != "active":
                return False
            self._client.update_run(self._run_id, status="RUNNING")
        except MlflowException:
            return False
        return True

    def settings(self, values: Mapping[str, Any]) -> None:
        """Log nested values as parameters, `data/name`; a run's parameters never change, so known ones are left out."""
        known = self._client.get_run(self._run_id).data.params
        fresh = [Param(key, value[:_LONGEST_PARAM]) for key, value in _flat(values) if key not in known]
        for start in range(0, len(fresh), _PARAMS_A_CALL):
            self._client.log_batch(self._run_id, params=fresh[start : start + _PARAMS_A_CALL])

    def figures(self, values: Mapping[str, float]) -> None:
        """Log figures of the run as a whole."""
        for key, value in values.items():
            self._client.log_metric(self._run_id, key, value)

    def __call__(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Log the figures of these rows that the run does not have yet."""
        if self._logged is None:
            names = self._client.get_run(self._run_id).data.metrics
            self._logged = {(n, m.step) for n in names for m in self._client.get_metric_history(self._run_id, n)}
        now = int(time.time() * 1000)
        fresh = [
            Metric(name, value, now, int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name != "step" and (name, int(row["step"])) not in self._logged
        ]
        for start in range(0, len(fresh), _METRICS_A_CALL):
            part = fresh[start : start + _METRICS_A_CALL]
            self._client.log_batch(self._run_id, metrics=part)
            self._logged |= {(metric.key, metric.step) for metric in part}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as (path, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}/") if isinstance(value, Mapping) else [(f"{prefix}{key}", str(value))]
    return pairs
