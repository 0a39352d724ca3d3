"""What differs between the generative families of transformers: where their parts are, and how their
blocks are run. One row each; nothing else asks which family a model is of.

Shapes: T tokens of one unpadded stream, D hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from luthier.core.errors import ModelError
from luthier.models.families import FAMILIES

RunBlocks = Callable[[Any, Tensor, Tensor, Sequence[Any], int, dict[str, Any]], Tensor]


@dataclass(frozen=True, slots=True)
class CausalFamily:
    """Module paths inside the trunk (the decoder without its output matrix) and inside one block.

    The fields that `families.Family` has too mean the same. `run` applies some blocks to hidden
    states: (trunk, hidden [1, T, D], positions [1, T], blocks, index of the first block, keyword
    arguments of every block). `dropouts` are configuration keys.
    """

    blocks: str
    embeddings: tuple[str, ...]
    attention_output: str
    feed_forward_output: str
    key_value: tuple[str, ...]
    run: RunBlocks
    dropouts: tuple[str, ...] = ("attention_dropout",)
    final_norm: str = "norm"
    conv: str = ""
    prefix: bool = True


def _run_rotary(
    trunk: Any, hidden: Tensor, positions: Tensor, blocks: Sequence[Any], first: int, options: dict[str, Any]
) -> Tensor:
    rotary = trunk.rotary_emb(hidden, positions)
    for block in blocks:
        hidden = block(hidden, position_embeddings=rotary, position_ids=positions, **options)
    return hidden


def _run_gemma3(
    trunk: Any, hidden: Tensor, positions: Tensor, blocks: Sequence[Any], first: int, options: dict[str, Any]
) -> Tensor:
    kinds = trunk.config.layer_types
    rotary = {kind: trunk.rotary_emb(hidden, positions, kind) for kind in dict.fromkeys(kinds)}
    for index, block in enumerate(blocks, start=first):
        hidden = block(hidden, position_embeddings=rotary[kinds[index]], position_ids=positions, **options)
    return hidden


def _run_gpt2(
    trunk: Any, hidden: Tensor, positions: Tensor, blocks: Sequence[Any], first: int, options: dict[str, Any]
) -> Tensor:
    if first == 0:
        hidden = trunk.drop(hidden + trunk.wpe(positions))
    for block in blocks:
        hidden = block(hidden, position_ids=positions, **options)
    return hidden


def _like_llama(run: RunBlocks = _run_rotary) -> CausalFamily:
    return CausalFamily(
        blocks="layers",
        embeddings=("embed_tokens",),
        attention_output="self_attn.o_proj",
        feed_forward_output="mlp.down_proj",
        key_value=("self_attn.k_proj", "self_attn.v_proj"),
        run=run,
    )


CAUSAL_FAMILIES: dict[str, CausalFamily] = {
    "llama": _like_llama(),
    "mistral": _like_llama(),
    "qwen2": _like_llama(),
    "qwen3": _like_llama(),
    "gemma": _like_llama(),
    "gemma2": _like_llama(),
    "gemma3_text": _like_llama(_run_gemma3),
    "smollm3": _like_llama(),
    "phi3": CausalFamily(
        blocks="layers",
        embeddings=("embed_tokens",),
        attention_output="self_attn.o_proj",
        feed_forward_output="mlp.down_proj",
        key_value=("self_attn.qkv_proj",),
        run=_run_rotary,
        dropouts=("attention_dropout", "resid_pdrop", "embd_pdrop"),
    ),
    "gpt2": CausalFamily(
        blocks="h",
        embeddings=("wte", "wpe"),
        attention_output="attn.c_proj",
        feed_forward_output="mlp.c_proj",
        key_value=("attn.c_attn",),
        run=_run_gpt2,
        dropouts=("attn_pdrop", "resid_pdrop", "embd_pdrop"),
        final_norm="ln_f",
    ),
}


def causal_family_of(config: Any, name: str, where: str = "") -> CausalFamily:
    """The row for a configuration's model_type, or a `ModelError` that says what would work."""
    family = CAUSAL_FAMILIES.get(config.model_type)
    if family is not None:
        return family
    if config.model_type in FAMILIES:
        raise ModelError(
            f"{name} is an encoder, which writes no text.",
            where=where,
            remedy="Choose a generative base such as luthier-nano (luthier models lists them).",
            code="not_generative",
            param="model",
        )
    raise ModelError(
        f"models of type {config.model_type!r} are not generative models that Luthier knows.",
        where=where,
        remedy=f"Choose one of: {', '.join(CAUSAL_FAMILIES)}.",
        code="unknown_family",
        param="model",
    )
