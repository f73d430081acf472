"""A vision-language checkpoint in transformers' format: its network, tokenizer, chat template and scaling of pictures.

It comes from a folder, the hub or the hub's local cache. Knows nothing of families, adapters or training. Nothing in a
checkpoint is executed but its chat template, which transformers renders in a sandbox: weights are safetensors, and code
that comes with a model is not run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from safelight.errors import ConfigError, WeightsError

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
PREPROCESSOR = "preprocessor_config.json"
_TEMPLATE = "chat_template.json"  # where processors kept it before chat_template.jinja


@dataclass(frozen=True)
class Source:
    """model: a folder, or a repository on the hub (`owner/name`). revision: a commit of the latter, None for its newest.
    offline: take it from the local cache or fail."""

    model: str
    revision: str | None = None
    offline: bool = False

    def arguments(self) -> dict[str, Any]:
        """As transformers takes them."""
        if Path(self.model).is_dir():
            return {"local_files_only": True}
        return {"revision": self.revision, "local_files_only": self.offline}


def load_config(source: Source) -> Any:
    """The configuration. Raises WeightsError when there is none."""
    from transformers import AutoConfig

    with _explained(source):
        return AutoConfig.from_pretrained(source.model, trust_remote_code=False, **source.arguments())


def load_network(
    source: Source, config: Any, dtype: torch.dtype, *, four_bit_except: Sequence[str] | None
) -> nn.Module:
    """The network with the checkpoint's weights, in evaluation mode.

    four_bit_except: names of modules that stay as they are while the other linear layers are held in 4 bits (NF4, Dettmers
    et al., "QLoRA", 2023); None for no such thing. Raises ConfigError where 4 bits are asked for and cannot be had,
    WeightsError when the checkpoint is damaged, lacks weights, or is not there.
    """
    from transformers import AutoModelForImageTextToText

    options: dict[str, Any] = {}
    if four_bit_except is not None:
        options = {"quantization_config": _four_bit(dtype, four_bit_except), "device_map": {"": 0}}
    with _explained(source):
        network, report = AutoModelForImageTextToText.from_pretrained(
            source.model,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
            **source.arguments(),
        )
    if report["missing_keys"]:
        raise WeightsError(
            f"Expected weights for all of the network, and the checkpoint lacks {len(report['missing_keys'])} of them."
        )
    whole: nn.Module = network.eval()
    return whole


def load_tokenizer(source: Source) -> Any:
    """The tokenizer with its chat template. Raises WeightsError when either is missing."""
    from transformers import AutoTokenizer

    with _explained(source):
        tokenizer = AutoTokenizer.from_pretrained(source.model, trust_remote_code=False, **source.arguments())
    if not tokenizer.chat_template:
        tokenizer.chat_template = read_json(source, _TEMPLATE).get("chat_template")
    if not tokenizer.chat_template:
        raise WeightsError("Expected a chat template beside the tokenizer, and the checkpoint has none.")
    return tokenizer


def read_json(source: Source, name: str) -> dict[str, Any]:
    """A JSON file of the checkpoint, empty where there is none."""
    from transformers.utils import cached_file

    found = cached_file(
        source.model,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
        **source.arguments(),
    )
    return dict(json.loads(Path(found).read_text())) if found else {}


def _four_bit(dtype: torch.dtype, kept: Sequence[str]) -> Any:
    missing = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
    if not torch.cuda.is_available():
        missing.append("a CUDA device")
    if missing:
        raise ConfigError(
            f"four_bit: expected bitsandbytes, accelerate and a CUDA device; missing: {', '.join(missing)}."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=[*kept, "lm_head"],
    )


@contextmanager
def _explained(source: Source) -> Iterator[None]:
    """What transformers raises, as what the reader of the message can act on."""
    try:
        yield
    except ImportError as error:
        needs = sorted(name for name in ("timm", "torchvision") if name in str(error).lower())
        raise WeightsError(
            f"This checkpoint needs {' and '.join(needs) or 'a library'}, which the project does not have "
            f"({type(error).__name__})."
        ) from error
    except (SafetensorError, StrictDataclassError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"Expected a checkpoint in transformers' format, and it is damaged: {type(error).__name__}."
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        where = "the folder" if Path(source.model).is_dir() else "the hub or its local cache"
        raise WeightsError(
            "Expected a checkpoint with config.json, tokenizer.json and model.safetensors of a model that "
            f"AutoModelForImageTextToText knows, in {where}. Where there is no way to the hub, download it elsewhere, copy the "
            f"folder here and give its path as the source. ({type(error).__name__})"
        ) from error
