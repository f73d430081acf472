"""Stages of the pipeline, one module each, run as `python -m pipelines.NAME`. Only here are Hydra configs read."""

import os

# Libraries that report their use to their makers do not, unless somebody asks them to.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}.items():
    os.environ.setdefault(_name, _value)
