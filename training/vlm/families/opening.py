"""A reader from a checkpoint. Knows nothing of adapters or training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safelight.errors import ConfigError
from training.vlm.families.checkpoint import (
    DTYPES,
    PREPROCESSOR,
    Precision,
    Source,
    load_config,
    load_network,
    load_tokenizer,
    read_json,
)
from training.vlm.families.gemma3n import Gemma3n
from training.vlm.families.lfm2_vl import Lfm2Vl
from training.vlm.families.qwen3_vl import Qwen3Vl
from training.vlm.families.reader import HfReader
from training.vlm.families.smolvlm import SmolVlm
from training.vlm.families.views import Shift, checked
from training.vlm.interface import Reader

FAMILIES: Mapping[str, type[HfReader]] = {kind.family: kind for kind in (SmolVlm, Gemma3n, Qwen3Vl, Lfm2Vl)}


def open_reader(
    source: str,
    family: str,
    *,
    dtype: Precision = "float32",
    four_bit: bool = False,
    image_side: int | None = None,
    revision: str | None = None,
    offline: bool = False,
    views: Sequence[Shift] | None = None,
) -> Reader:
    """The reader of a checkpoint, every weight of it frozen.

    source: a folder, or a repository on the hub (`owner/name`) of which `revision` names the commit. dtype: of the weights.
    four_bit: hold the language model's linear layers in 4 bits; needs bitsandbytes and a CUDA device. image_side: in pixels,
    None for the family's own. offline: take it from the hub's local cache or fail. views: pixels to the right and down by
    which a picture is moved for each look, of which the network is given the mean (views.py); None: it is looked at once.
    Raises ConfigError on options that cannot be had, WeightsError when the checkpoint cannot be read.
    """
    if family not in FAMILIES:
        raise ConfigError(f"family: expected one of {sorted(FAMILIES)}, got {family!r}.")
    if dtype not in DTYPES:
        raise ConfigError(f"dtype: expected one of {sorted(DTYPES)}, got {dtype!r}.")
    kind, where = FAMILIES[family], Source(source, revision, offline)
    config = load_config(where)
    side = kind.default_side(config) if image_side is None else image_side
    kind.check_side(config, side)
    kept = [name for name, part in kind.parts.items() if part != "text"] if four_bit else None
    network = load_network(where, config, DTYPES[dtype], four_bit_except=kept)
    network.requires_grad_(False)
    reader = kind(network, load_tokenizer(where), side, read_json(where, PREPROCESSOR), DTYPES[dtype])
    if views is not None:
        reader.look_around(checked(views, side))
    return reader
