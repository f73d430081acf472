"""Stages of the pipeline, one module each, run as `python -m pipelines.NAME`. Only here are Hydra configs read."""
