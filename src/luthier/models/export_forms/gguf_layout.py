"""Where llama.cpp keeps the weights of Llama-like models, and how (its convert_hf_to_gguf.py and
src/llama-model.cpp), as numpy arrays; there and back.

Shapes: weights [out, in]; H heads of width d.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.core.errors import ModelError

Array = npt.NDArray[np.float32]

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""llama.cpp's architecture for a model_type of transformers."""

ROPE_FREQS = "rope_freqs.weight"
"""Divisors of the rotary frequencies [d / 2] (Llama 3's and linear scaling)."""

_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_TOP_BACK = {short: long for long, short in _TOP.items()}
_BLOCK_BACK = {short: long for long, short in _BLOCK.items()}


def architecture_of(config: Any) -> str:
    """llama.cpp's name, or a `ModelError` for what this writer (or llama.cpp's graph) does not have."""
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise _error(f"models of type {config.model_type!r} are not written as GGUF: {', '.join(ARCHITECTURES)} are.")
    rope = config.rope_parameters["rope_type"]
    if rope not in (("default", "linear", "llama3") if architecture == "llama" else ("default",)):
        raise _error(f"its rotary embeddings are scaled by {rope!r}, which Luthier does not write into GGUF.")
    settings = config.to_dict()
    if config.hidden_act != "silu" or (architecture != "qwen2" and settings.get("attention_bias")):
        raise _error("it has biases or an activation that llama.cpp's graph of this architecture has not.")
    if architecture != "llama" and "sliding_attention" in (settings.get("layer_types") or ()):
        raise _error("some of its layers look back through a window, which this architecture of llama.cpp does not.")
    return architecture


def context_of(config: Any) -> int:
    """The longest input, in tokens, for which llama.cpp's answers are the model's: it knows no sliding window."""
    window = getattr(config, "sliding_window", None)  # a key of some families only
    positions = int(config.max_position_embeddings)
    return positions if window is None or config.model_type != "mistral" else min(positions, int(window))


def head_width(config: Any) -> int:
    """d."""
    width = getattr(config, "head_dim", None)  # Qwen 2 has no such key
    return int(width or config.hidden_size // config.num_attention_heads)


def to_gguf(name: str, weight: Array, config: Any) -> tuple[str, Array]:
    """(llama.cpp's name, weight as it is kept there) of a parameter of transformers' model."""
    path, _, kind = name.rpartition(".")
    if path in _TOP:
        return f"{_TOP[path]}.{kind}", weight
    _, _, index, inner = path.split(".", 3)
    if architecture_of(config) == "llama":
        weight = _interleaved(inner, weight, config)
    return f"blk.{index}.{_BLOCK[inner]}.{kind}", weight


def from_gguf(name: str, weight: Array, config: Any) -> tuple[str, Array]:
    """The inverse of `to_gguf`."""
    path, _, kind = name.rpartition(".")
    if path in _TOP_BACK:
        return f"{_TOP_BACK[path]}.{kind}", weight
    _, index, inner = path.split(".", 2)
    long = _BLOCK_BACK[inner]
    if architecture_of(config) == "llama":
        weight = _halves(long, weight, config)
    return f"model.layers.{index}.{long}.{kind}", weight


def _heads(inner: str, config: Any) -> int | None:
    """H of a projection whose rows are rotated, else None."""
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    return heads.get(inner)


def _interleaved(inner: str, weight: Array, config: Any) -> Array:
    """llama.cpp turns neighbouring rows of its llama graph, transformers row i and row i + d/2."""
    heads = _heads(inner, config)
    if heads is None:
        return weight
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _halves(inner: str, weight: Array, config: Any) -> Array:
    heads = _heads(inner, config)
    if heads is None:
        return weight
    return weight.reshape(heads, -1, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _error(message: str) -> ModelError:
    return ModelError(
        message,
        remedy="Export with --to merged and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
        code="not_in_gguf",
    )
