"""What decides the numbers of a detector's training besides its settings and data: code and libraries.

Knows nothing of how they are compared (training/fitting/resuming.py).
"""

from __future__ import annotations

from pathlib import Path

from training.fitting.resuming import Code

CODE = Code(
    (Path(__file__).parent,),
    ("detections.py", "images.py", "postprocess.py", "preprocess.py"),
    ("kornia", "transformers"),
)
