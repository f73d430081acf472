"""What decides the numbers of a tower's learning besides its settings: code and libraries."""

from __future__ import annotations

from pathlib import Path

from training.fitting.resuming import Code

_VLM = Path(__file__).parent.parent

CODE = Code(
    (_VLM / "tower", _VLM / "offline.py", _VLM / "photometry.py", _VLM.parent / "drawings"),
    ("preprocess.py", "reader/picture.py", "reader/schema.py", "reader/task.py"),
    ("transformers", "tokenizers"),
)
