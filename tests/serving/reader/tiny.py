"""A small SmolVLM with random weights, exported as the exporter does, and adapters for it: made on the spot."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

from safelight.reader.manifest import DECODER, EMBEDDING, VISION, Architecture
from serving.reader.adapter import Adapter, read_matrices
from serving.reader.constraint import Constraint, Tokens
from serving.reader.engine import Engine
from serving.reader.graphs import open_graphs
from training.vlm.export.graphs import write_graphs
from training.vlm.export.linear import adaptable

SIDE, IMAGE_TOKENS, RANK = 32, 4, 4
SPECIAL = ("<pad>", "<|im_start|>", "<|im_end|>", "<image>")
PAD, START, END, IMAGE = range(len(SPECIAL))
KEYS = {
    "type": "object",
    "properties": {
        "keyway": {"enum": ["SC1", "KW1", "Y1", "M1"]},
        "bittings": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 9},
            "minItems": 4,
            "maxItems": 6,
        },
        "brand": {"enum": ["Schlage", "Kwikset", "Yale", "Master"]},
    },
    "required": ["keyway", "bittings", "brand"],
    "additionalProperties": False,
}
METERS = {
    "type": "object",
    "properties": {
        "value": {"type": "number", "minimum": 0, "maximum": 99999},
        "unit": {"enum": ["m³", "kWh"]},
        "note": {"type": "string", "maxLength": 12},
    },
    "required": ["value", "unit"],
    "additionalProperties": False,
}


def compact(answer: object) -> str:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def tokenizer() -> Tokenizer:
    """Byte-level BPE with digits apart, as SmolLM2's is, trained on answers."""
    random = np.random.default_rng(0)
    words = ["Schlage", "Kwikset", "Yale", "Master", "kWh", "m³"]
    texts = [
        compact(
            {
                "keyway": str(random.choice(["SC1", "KW1", "Y1", "M1"])),
                "bittings": random.integers(0, 10, 5).tolist(),
                "brand": str(random.choice(words)),
                "value": float(random.integers(0, 10000)) / 10,
                "note": " ".join(map(str, random.choice(words, 3))),
            }
        )
        for _ in range(200)
    ]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        texts + ["user assistant\nRead the key."] * 20,
        trainers.BpeTrainer(
            vocab_size=600, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )  # fmt: skip
    return made


def network(vocabulary: int) -> SmolVLMForConditionalGeneration:
    """Weights large enough for answers to follow the picture and not to hang on the last bit."""
    torch.manual_seed(0)
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {"model_type": "llama", "vocab_size": vocabulary, "pad_token_id": PAD, "tie_word_embeddings": True}
    config = SmolVLMConfig(
        text_config={**common, **text, "num_key_value_heads": 2, "max_position_embeddings": 512},
        vision_config={**common, "image_size": SIDE, "patch_size": 8},
        scale_factor=2,
        image_token_id=IMAGE,
        tie_word_embeddings=True,
    )
    made = SmolVLMForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.5 / math.sqrt(parameter[0].numel()))
    return made


@dataclass(frozen=True)
class Base:
    """A base as serving has it."""

    network: SmolVLMForConditionalGeneration
    tokenizer: Tokenizer
    architecture: Architecture
    files: dict[str, bytes]
    tokens: Tokens

    def graphs(self, **changed: bytes):
        named = {"vision": VISION, "embedding": EMBEDDING, "decoder": DECODER}
        given = {name: self.files[file] for name, file in named.items()} | changed
        return open_graphs(self.architecture, **given, threads=1, provider="cpu")

    def engine(self, graphs=None, **options) -> Engine:
        given = {"rows": 4, "queue": 64, "clock": time.monotonic} | options
        return Engine(graphs or self.graphs(), self.tokens, **given)

    def prompt(self, words: str = "Read the key.") -> tuple[int, ...]:
        said = [self.tokenizer.encode(part).ids for part in (f"user\n{words}", "\n", "assistant\n")]
        return (START, *said[0], *[IMAGE] * IMAGE_TOKENS, END, *said[1], START, *said[2])

    def adapter_bytes(self, seed: int, rank: int = RANK, scale: float = 0.3) -> bytes:
        random = np.random.default_rng(seed)
        return save(
            {
                f"lora.{path}.{half}": (scale * random.normal(size=shape)).astype(np.float32)
                for path, (inputs, outputs) in self.architecture.adapted.items()
                for half, shape in (("A", (rank, inputs)), ("B", (outputs, rank)))
            }
        )

    def adapter(self, seed: int = 1, schema=KEYS, words: str = "Read the key.", most: int = 160) -> Adapter:
        """An adapter with random matrices; schema None: it may answer anything."""
        matrices = read_matrices(self.adapter_bytes(seed), self.architecture, RANK)
        constraint = None if schema is None else Constraint(schema, self.tokens)
        return Adapter(f"{seed:064x}", matrices, self.prompt(words), constraint, most)


def base(folder: Path) -> Base:
    """Made and exported: some ten seconds."""
    made = tokenizer()
    model = network(made.get_vocab_size())
    adapted = adaptable(model.model)
    files = {name: path.read_bytes() for name, path in write_graphs(model, adapted, SIDE, folder).items()}
    architecture = Architecture(
        family="smolvlm",
        layers=2,
        kv_heads=2,
        head_dim=8,
        hidden=32,
        vocabulary=made.get_vocab_size(),
        positions=512,
        image_side=SIDE,
        image_tokens=IMAGE_TOKENS,
        image_token_id=IMAGE,
        eos_token_ids=(END,),
        adapted=adapted,
    )
    return Base(model, made, architecture, files, Tokens(made.to_str(), architecture.vocabulary, (END,)))


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """`(count, 3, S, S)` in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, SIDE, SIDE)).astype(np.float32)
