"""Tiny random generative bases of the families that Luthier knows, with a byte-level BPE trained here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from luthier.models.quiet import quiet

CAUSAL_FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "phi3", "gpt2",
)  # fmt: skip
TEXTS = [
    "You are a helpful assistant. Answer in one short sentence.",
    "Where is my parcel? It came two days late and the box was torn.",
    "I am sorry to hear that. Please send me the number of your order.",
    "Wonderful service, thank you so much!",
    '{"name": "invoice", "total": 12.5, "paid": true}',
    "def add(left: int, right: int) -> int:\n    return left + right\n",
    "The engineer measured the temperature again and again, until the thermometer broke.",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "gemma": GemmaConfig,
    "gemma2": Gemma2Config,
    "gemma3_text": Gemma3TextConfig,
    "smollm3": SmolLM3Config,
    "phi3": Phi3Config,
    "gpt2": GPT2Config,
}
_SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]


@cache
def _backend() -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=_SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return str(backend.to_str())


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most 330 tokens with a ChatML template; a turn ends with eos <|im_end|>."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend()),
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|endoftext|>", "<|im_start|>"],
        model_max_length=256,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_config(family: str, vocab: int, **overrides: Any) -> Any:
    """3 layers of width 32, 4 query heads, 2 key/value heads (GPT-2: 4), context 256."""
    ids = {"bos_token_id": None, "eos_token_id": 3, "pad_token_id": 1}
    if family == "gpt2":
        values: dict[str, Any] = {
            "n_layer": 3, "n_embd": 32, "n_head": 4, "n_inner": 48, "n_positions": 256,
            "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
        }  # fmt: skip
    else:
        values = {
            "num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": False,
        }  # fmt: skip
    if family.startswith(("gemma", "qwen3")):
        values["head_dim"] = 8
    if family == "gemma":
        values["tie_word_embeddings"] = True
    if family in ("gemma2", "gemma3_text"):
        values.update(query_pre_attn_scalar=8, sliding_window=6, tie_word_embeddings=True)
        values["layer_types"] = ["sliding_attention", "full_attention", "sliding_attention"]
    if family == "mistral":
        values["sliding_window"] = 6
    return _CONFIGS[family](**{**values, **ids, "vocab_size": vocab, **overrides})


def tiny_causal(folder: Path, family: str = "llama", **overrides: Any) -> Path:
    """Write a random base of `family` into `folder`: config, model.safetensors, tokenizer, chat template.

    `overrides` are keys of the family's transformers configuration.
    """
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(tiny_config(family, len(tokenizer), **overrides))
        for parameter in model.parameters():  # transformers starts all norms and biases alike
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
