"""What decides the numbers of a reader's training besides its settings and data: code and libraries.

Knows nothing of how they are compared (training/fitting/resuming.py).
"""

from __future__ import annotations

from pathlib import Path

from training.fitting.resuming import Code

_HERE = Path(__file__).parent
_NAMES = ("bucketing", "datamodule", "features", "interface", "module", "photometry", "prepared", "quick", "records")

CODE = Code(
    (*(_HERE / f"{name}.py" for name in _NAMES), _HERE / "families"),
    ("preprocess.py", "images.py", "reader/picture.py", "reader/schema.py", "reader/task.py"),
    ("transformers", "peft", "tokenizers"),
)
