"""MLflow: a Python model with type hints, saved as code, which take the place of a signature; bytes are base64 in JSON
(https://mlflow.org/docs/latest/ml/model/python_model).

    python -m peers.mlflow_ FOLDER        # saves it
    mlflow models serve -m FOLDER --env-manager local --workers 1

MLflow's own ONNX flavour takes tensors as JSON numbers: a picture of 288 x 288 would be some 2 MB of text.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlflow
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Boxes(PythonModel):
    def load_context(self, context: Any) -> None:
        from peers.detector import Detector

        self.detector = Detector.of_environment()

    def predict(self, model_input: list[bytes]) -> list[list[dict[str, Any]]]:
        return [[dict(found) for found in self.detector(data)] for data in model_input]


set_model(Boxes())


def save(folder: Path) -> None:
    mlflow.pyfunc.save_model(str(folder), python_model=__file__, pip_requirements=["mlflow"])


if __name__ == "__main__":
    save(Path(sys.argv[1]))
