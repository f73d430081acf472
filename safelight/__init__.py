"""The vocabulary of Safelight: what training and serving both speak.

Nothing here knows of torch, Lightning, Hydra, MLflow or BentoML, so that a client, a server or a notebook can import it
in a fraction of a second.
"""

__version__ = "0.1.0"
