"""Checkpoints of every family, small and untrained, as a hub repository would hold them: made on the spot."""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoModel,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.gemma3n.configuration_gemma3n import Gemma3nVisionConfig

PROMPT = "Read the key. Answer in JSON."
ANSWERS = ('{"keyway":"SC1","bittings":[2,5,4,7,3]}', '{"keyway":"KW1","bittings":[1,1]}')
TEXTS = [
    '{"keyway":"SC1","bittings":[2,5,4,7,3],"brand":"Schlage"}',
    "Read the key. Answer in JSON.",
    "user assistant model",
] * 20

_PARTS = (
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
)
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\nPARTS<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SMOLVLM = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: PARTS<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\nPARTS<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@dataclass(frozen=True)
class Kind:
    """What a checkpoint of a family is called and made of. side: of its pictures, in pixels."""

    family: str
    build: object
    special: tuple[str, ...]
    template: str
    image: str
    end: str
    side: int
    image_tokens: int


def text(**more):
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        **more,
    }


def vision(**more):
    return {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, **more}


def smolvlm(ids):
    return SmolVLMForConditionalGeneration(_idefics(SmolVLMConfig, ids))


def idefics3(ids):
    return Idefics3ForConditionalGeneration(_idefics(Idefics3Config, ids))


def _idefics(kind, ids):
    return kind(
        text_config=text(model_type="llama", vocab_size=len(ids), pad_token_id=0, tie_word_embeddings=True),
        vision_config=vision(image_size=32, patch_size=8),
        scale_factor=2,
        image_token_id=ids["<image>"],
        tie_word_embeddings=True,
    )


def qwen3_vl(ids):
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    return Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            text_config=text(vocab_size=len(ids), head_dim=8, rope_parameters=rope),
            vision_config={
                "depth": 2,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 4,
                "patch_size": 8,
                "out_hidden_size": 32,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0],
            },
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
            tie_word_embeddings=True,
        )
    )


def lfm2_vl(ids):
    layers = text(model_type="lfm2", vocab_size=len(ids), layer_types=["conv", "full_attention"])
    return Lfm2VlForConditionalGeneration(
        Lfm2VlConfig(
            text_config=layers,
            vision_config=vision(
                model_type="siglip2_vision_model", patch_size=8, num_patches=16, vision_use_head=False
            ),
            projector_hidden_size=32,
            image_token_id=ids["<image>"],
        )
    )


class Tower(nn.Module):
    """Stands where timm's MobileNetV5 stands in Gemma 3n, which needs torchvision: pictures to 2 x 2 features."""

    def __init__(self, config):
        super().__init__()
        self.stem = nn.Conv2d(3, config.hidden_size, 8, 8)
        self.config = config

    def forward(self, pixel_values, do_pooling=False, return_dict=True):
        features = nn.functional.adaptive_avg_pool2d(self.stem(pixel_values).tanh(), 2)
        return BaseModelOutputWithPooling(last_hidden_state=features)

    @classmethod
    def _from_config(cls, config, **_):
        return cls(config)


Tower.config_class = Gemma3nVisionConfig


def register_tower():
    """Have transformers build it for Gemma 3n."""
    AutoModel.register(Gemma3nVisionConfig, Tower, exist_ok=True)


def gemma3n(ids):
    register_tower()
    count = len(ids)
    return Gemma3nForConditionalGeneration(
        Gemma3nConfig(
            text_config=text(
                vocab_size=count + 8,
                vocab_size_per_layer_input=count,
                head_dim=8,
                hidden_size_per_layer_input=8,
                laurel_rank=4,
                num_kv_shared_layers=0,
                layer_types=["sliding_attention", "full_attention"],
                activation_sparsity_pattern=[0.0, 0.0],
            ),
            vision_config={"hidden_size": 16, "vocab_size": 4, "vocab_offset": count, "label_names": ["none"]},
            audio_config={
                "hidden_size": 16,
                "vocab_size": 4,
                "vocab_offset": count + 4,
                "conf_num_attention_heads": 2,
                "conf_num_hidden_layers": 1,
                "input_feat_size": 16,
            },
            vision_soft_tokens_per_image=4,
            image_token_id=ids["<image_soft_token>"],
            audio_token_id=ids["<audio_soft_token>"],
            boi_token_id=ids["<start_of_image>"],
            eoi_token_id=ids["<end_of_image>"],
        )
    )


_AROUND = "<fake_token_around_image>"
_QWEN = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_GEMMA_WORDS = ("<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>")
_SOFT = ("<image_soft_token>", "<audio_soft_token>")

KINDS = {
    "smolvlm": Kind(
        "smolvlm",
        smolvlm,
        ("<|im_start|>", "<|im_end|>", _AROUND, "<image>"),
        _CHATML.replace("PARTS", _PARTS.replace("IMAGE", "<image>")),
        "<image>",
        "<|im_end|>",
        32,
        4,
    ),
    "idefics3": Kind(
        "smolvlm",
        idefics3,
        ("<|im_start|>", "<end_of_utterance>", _AROUND, "<image>", "<global-img>"),
        _SMOLVLM.replace("PARTS", _PARTS.replace("IMAGE", "<image>")),
        "<image>",
        "<end_of_utterance>",
        32,
        4,
    ),
    "qwen3_vl": Kind(
        "qwen3_vl",
        qwen3_vl,
        _QWEN,
        _CHATML.replace("PARTS", _PARTS.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")),
        "<|image_pad|>",
        "<|im_end|>",
        32,
        4,
    ),
    "lfm2_vl": Kind(
        "lfm2_vl",
        lfm2_vl,
        ("<|im_start|>", "<|im_end|>", "<|image_start|>", "<|image_end|>", "<image>"),
        _CHATML.replace("PARTS", _PARTS.replace("IMAGE", "<image>")),
        "<image>",
        "<|im_end|>",
        32,
        4,
    ),
    "gemma3n": Kind(
        "gemma3n",
        gemma3n,
        (*_GEMMA_WORDS, *_SOFT),
        _GEMMA.replace("PARTS", _PARTS.replace("IMAGE", "<image_soft_token>")),
        "<image_soft_token>",
        "<end_of_turn>",
        32,
        4,
    ),
}


def tokenizer(kind):
    """Byte-level BPE trained on a few sentences, with the family's special tokens and chat template."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<pad>", *kind.special], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token=kind.end,
        bos_token="<bos>" if "<bos>" in kind.special else None,
        chat_template=kind.template,
    )


def write(name, folder):
    """Write the checkpoint and return its kind."""
    kind = KINDS[name]
    words = tokenizer(kind)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = kind.build(words.get_vocab())
        # Wider than transformers initialises: pictures and prompts tell in the answers of an untrained network, and one whose
        # head is frozen can become sure of an answer.
        with torch.no_grad():
            for key, parameter in network.named_parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.5 if key.endswith("embed_tokens.weight") else 0.15)
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    return kind


def trained(reader, batch, steps=12, rate=1e-2):
    """Take AdamW steps on one batch and return the loss before each."""
    optimiser = torch.optim.AdamW([value for value in reader.model.parameters() if value.requires_grad], rate)
    reader.model.train()
    losses = []
    for _ in range(steps):
        loss = reader.loss(batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    reader.model.eval()
    return losses


def logits(reader, batch):
    """What the network answers to a batch, without gradient."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        return reader.model(**inputs).logits
