"""How processes share the tests (`make test`): whole files, so that a file's fixtures are made once; whole folders where files
share something that takes long to make.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

TOGETHER = (
    "tests/e2e/",
    "tests/pipelines/reader/",
    "tests/serving/reader/",
    "tests/training/detector/hf/",
    "tests/training/vlm/export/",
    "tests/training/vlm/families/",
)
ALONE = ("tests/e2e/test_dvc.py",)  # has a clone of its own


class Sharing(LoadScopeScheduling):
    """What belongs together goes to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(folder) and file not in ALONE), file)
