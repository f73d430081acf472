"""A tiny SmolVLM that has learnt two answers, its adapter, and its graphs."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.training.vlm.export.taught import KIND, opened, scenes, taught, write_base
from tests.training.vlm.families import checkpoints
from training.vlm.export.adapters import lora_matrices
from training.vlm.export.graphs import write_graphs
from training.vlm.export.linear import adaptable
from training.vlm.export.parity import Question
from training.vlm.export.running import Graphs


@dataclass(frozen=True)
class Exported:
    """reader: with its adapter, which lies in `adapter`. graphs: of the base, in `folder`, which know nothing of it."""

    reader: Any
    base: Any
    adapter: Any
    adapted: Any
    matrices: Any
    graphs: Any
    folder: Any
    pictures: Any
    asked: Question


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    write_base(root / "base", root / "checkpoint")
    base = opened(root / "base")
    adapted = adaptable(base.model.model)
    write_graphs(base.model, adapted, KIND.side, root / "graphs", base.views)
    reader = taught(opened(root / "base"))
    reader.save_adapter(root / "adapter")
    ids = reader.tokenizer.get_vocab()
    return Exported(
        reader,
        base,
        root / "adapter",
        adapted,
        lora_matrices(root / "adapter", adapted),
        Graphs(root / "graphs", threads=1),
        root / "graphs",
        scenes(20),
        Question(checkpoints.PROMPT, ids["<image>"], (ids[KIND.end],), 24),
    )
