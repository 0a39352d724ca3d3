"""Which models the fast decode path knows, and where their parts are.

The check is by exact class: a module that it does not know (a quantised layer, a hook, another family) may compute
something else, and then the model itself answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM

FAMILIES: dict[str, type] = {
    "llama": LlamaForCausalLM,
    "mistral": MistralForCausalLM,
    "qwen2": Qwen2ForCausalLM,
    "qwen3": Qwen3ForCausalLM,
}
STATIC_ROTARY = ("default", "linear", "llama3", "yarn")
"""Rotations that depend on a token's position only, not on the longest of the batch."""
QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
OUT = ("self_attn.o_proj",)
GATE_UP = ("mlp.gate_proj", "mlp.up_proj")
DOWN = ("mlp.down_proj",)
GROUPS = (QKV, OUT, GATE_UP, DOWN)
"""The linear layers of a block; those of one group read the same input and are one product."""


@dataclass(frozen=True, slots=True)
class Shape:
    """H query heads, G key/value heads, E width of a head, L blocks, D hidden width."""

    heads: int
    groups: int
    head_width: int
    layers: int
    hidden: int
    eps: float


def causal_of(model: Any) -> Any:
    """The causal model of transformers itself, without PEFT's wrapper."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def base_linear(module: Any) -> Any:
    """The ``nn.Linear`` under PEFT's LoRA, or the layer itself."""
    return module.base_layer if isinstance(module, LoraLinear) else module


def adapter_names(causal: Any) -> list[str]:
    """All LoRA adapters in a model."""
    return sorted({name for layer in _lora_layers(causal) for name in layer.lora_A})


def active_adapters(model: Any) -> list[str]:
    """Those that answer where no row names one."""
    return sorted({name for layer in _lora_layers(causal_of(model)) for name in layer.active_adapters})


def _lora_layers(causal: Any) -> list[LoraLinear]:
    return [module for module in causal.modules() if isinstance(module, LoraLinear)]


def shape_of(causal: Any) -> Shape:
    """The sizes of a model that `why_not` has nothing against."""
    attention, config = causal.model.layers[0].self_attn, causal.config
    return Shape(
        heads=config.num_attention_heads,
        groups=config.num_key_value_heads,
        head_width=attention.head_dim,
        layers=len(causal.model.layers),
        hidden=config.hidden_size,
        eps=float(config.rms_norm_eps),
    )


def why_not(model: Any, *, precision: str = "fp32", prefix: Sequence[Any] = ()) -> str | None:
    """Why the fast path cannot stand for this model, as a sentence; None where it can."""
    causal = causal_of(model)
    return _setting(precision, prefix) or _family(causal) or _weights(causal) or _blocks(causal)


def _setting(precision: str, prefix: Sequence[Any]) -> str | None:
    if precision != "fp32":
        return f"it computes in fp32, and {precision} is asked for."
    if prefix:
        return "prefix tuning is not built into it."
    if not torch.backends.mkldnn.is_available():
        return "this torch was built without oneDNN."
    return None


def _family(causal: Any) -> str | None:
    config = causal.config
    known = type(causal) is FAMILIES.get(config.model_type)
    if not known:
        return f"it does not know models of type {type(causal).__name__}."
    if getattr(config, "sliding_window", None) is not None or any(
        kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()
    ):
        return "some layers see a sliding window."
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}."
    rotary = causal.model.rotary_emb.rope_type
    if rotary not in STATIC_ROTARY:
        return f"its rotary embedding is of type {rotary}."
    if config.rope_parameters.get("partial_rotary_factor", 1.0) != 1.0:
        return "only a part of each head is rotated."
    return None


def _weights(causal: Any) -> str | None:
    for name, parameter in causal.named_parameters():
        if parameter.device.type != "cpu":
            return "it was only measured on a CPU."
        if parameter.dtype != torch.float32:
            return f"{name} is not float32."
    return None


def _blocks(causal: Any) -> str | None:
    if type(causal.model.embed_tokens) is not nn.Embedding or causal.model.embed_tokens.max_norm is not None:
        return "the embeddings are not plain."
    if type(causal.lm_head) is not nn.Linear:
        return "the output layer is not plain."
    for name, module in causal.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return f"{name or 'the model'} has a hook."
    for block in causal.model.layers:
        for name in (name for group in GROUPS for name in group):
            reason = _linear(block.get_submodule(name))
            if reason is not None:
                return f"{name} {reason}"
    return None


def _linear(module: Any) -> str | None:
    if type(module) is nn.Linear:
        return None
    if type(module) is not LoraLinear or type(module.base_layer) is not nn.Linear:
        return f"is a {type(module).__name__}."
    if module.lora_variant or module.merged or module.disable_adapters or any(module.lora_bias.values()):
        return "has more than plain LoRA."
    return None
