"""What differs between the encoder families of transformers: where their parts are, and how their
own heads read hidden states. One row each; nothing else asks which family a model is of.

Shapes: B rows, L tokens, D hidden width, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask

from luthier.core.errors import ModelError

Embed = Callable[[Any, Tensor, Tensor, Tensor | None], Tensor]
Run = Callable[[Any, Tensor, Tensor, Sequence[Any], int], Tensor]
Classify = Callable[[Any, Any, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Family:
    """Module paths inside the trunk (the encoder without a head) and inside one block.

    `embeddings` are the modules below the first block and those that every block shares
    (relative position tables): while any of them trains, nothing can be cached. `conv` belongs to
    the first block and `final_norm` to the last. `run` applies some blocks to hidden states
    (trunk, hidden_BLD, attention_mask_BL, blocks, index of the first block).
    `classify` is the architecture's own classifier on the pooled vectors [B, D] (or on [B, L, D]
    when tokens are labelled). `dropouts` and `head_dropout` are configuration keys, the latter in
    order of preference.
    """

    blocks: str
    embeddings: tuple[str, ...]
    attention_output: str
    feed_forward_output: str
    key_value: tuple[str, ...]
    embed: Embed
    run: Run
    classify: Classify
    dropouts: tuple[str, ...] = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    head_dropout: tuple[str, ...] = ("classifier_dropout", "hidden_dropout_prob")
    conv: str = ""
    final_norm: str = ""
    optional_pooler: bool = False
    type_ids: bool = False
    prefix: bool = False


def _embed_bert(trunk: Any, input_ids: Tensor, mask: Tensor, type_ids: Tensor | None) -> Tensor:
    return trunk.embeddings(input_ids=input_ids, token_type_ids=type_ids)  # type: ignore[no-any-return]


def _embed_electra(trunk: Any, input_ids: Tensor, mask: Tensor, type_ids: Tensor | None) -> Tensor:
    hidden = _embed_bert(trunk, input_ids, mask, type_ids)
    if trunk.config.embedding_size != trunk.config.hidden_size:
        hidden = trunk.embeddings_project(hidden)
    return hidden


def _embed_deberta(trunk: Any, input_ids: Tensor, mask: Tensor, type_ids: Tensor | None) -> Tensor:
    return trunk.embeddings(input_ids=input_ids, token_type_ids=type_ids, mask=mask)  # type: ignore[no-any-return]


def _embed_plain(trunk: Any, input_ids: Tensor, mask: Tensor, type_ids: Tensor | None) -> Tensor:
    return trunk.embeddings(input_ids=input_ids)  # type: ignore[no-any-return]


def _run_bert(trunk: Any, hidden: Tensor, mask: Tensor, blocks: Sequence[Any], first: int) -> Tensor:
    wide = create_bidirectional_mask(config=trunk.config, inputs_embeds=hidden, attention_mask=mask)
    for block in blocks:
        hidden = block(hidden, wide)
    return hidden


def _run_mpnet(trunk: Any, hidden: Tensor, mask: Tensor, blocks: Sequence[Any], first: int) -> Tensor:
    wide = create_bidirectional_mask(config=trunk.config, inputs_embeds=hidden, attention_mask=mask)
    bias = trunk.encoder.compute_position_bias(hidden)
    for block in blocks:
        hidden = block(hidden, wide, bias)[0]
    return hidden


def _run_deberta(trunk: Any, hidden: Tensor, mask: Tensor, blocks: Sequence[Any], first: int) -> Tensor:
    encoder = trunk.encoder
    wide = encoder.get_attention_mask(mask)
    relative = encoder.get_rel_pos(hidden)
    table = encoder.get_rel_embedding()
    for index, block in enumerate(blocks, start=first):
        below = hidden
        hidden = block(hidden, wide, relative_pos=relative, rel_embeddings=table)[0]
        if index == 0 and encoder.conv is not None:
            hidden = encoder.conv(below, hidden, mask)
    return hidden


def _run_modernbert(trunk: Any, hidden: Tensor, mask: Tensor, blocks: Sequence[Any], first: int) -> Tensor:
    inputs = {"config": trunk.config, "inputs_embeds": hidden, "attention_mask": mask}
    wide = {
        "full_attention": create_bidirectional_mask(**inputs),
        "sliding_attention": create_bidirectional_sliding_window_mask(**inputs),
    }
    positions = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
    for block in blocks:
        kind = block.attention_type
        rotary = trunk.rotary_emb(hidden, positions, kind)
        hidden = block(hidden, attention_mask=wide[kind], position_embeddings=rotary)
    return hidden


def _classify_bert(backbone: Any, trunk: Any, pooled: Tensor) -> Tensor:
    # The pooler and the classification heads take the first token themselves: give them one token.
    features = trunk.pooler(pooled.unsqueeze(1))
    return backbone.classifier(backbone.dropout(features))  # type: ignore[no-any-return]


def _classify_first(backbone: Any, trunk: Any, pooled: Tensor) -> Tensor:
    return backbone.classifier(pooled.unsqueeze(1))  # type: ignore[no-any-return]


def _classify_distilbert(backbone: Any, trunk: Any, pooled: Tensor) -> Tensor:
    features = nn.functional.relu(backbone.pre_classifier(pooled))
    return backbone.classifier(backbone.dropout(features))  # type: ignore[no-any-return]


def _classify_deberta(backbone: Any, trunk: Any, pooled: Tensor) -> Tensor:
    features = backbone.pooler(pooled.unsqueeze(1))
    return backbone.classifier(backbone.dropout(features))  # type: ignore[no-any-return]


def _classify_modernbert(backbone: Any, trunk: Any, pooled: Tensor) -> Tensor:
    return backbone.classifier(backbone.drop(backbone.head(pooled)))  # type: ignore[no-any-return]


def classify_tokens(family: Family, backbone: Any, hidden: Tensor) -> Tensor:
    """Token logits [B, L, C] of the architecture's own token classifier."""
    if family.final_norm:  # ModernBERT is the one family with a transform before it
        return _classify_modernbert(backbone, None, hidden)
    return backbone.classifier(backbone.dropout(hidden))  # type: ignore[no-any-return]


_BERT = Family(
    blocks="encoder.layer",
    embeddings=("embeddings",),
    attention_output="attention.output.dense",
    feed_forward_output="output.dense",
    key_value=("attention.self.key", "attention.self.value"),
    embed=_embed_bert,
    run=_run_bert,
    classify=_classify_bert,
    optional_pooler=True,
    type_ids=True,
    prefix=True,
)
_ROBERTA = Family(
    blocks="encoder.layer",
    embeddings=("embeddings",),
    attention_output="attention.output.dense",
    feed_forward_output="output.dense",
    key_value=("attention.self.key", "attention.self.value"),
    embed=_embed_bert,
    run=_run_bert,
    classify=_classify_first,
    optional_pooler=True,
    type_ids=True,
    prefix=True,
)
FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": Family(
        blocks="encoder.layer",
        embeddings=("embeddings", "embeddings_project"),
        attention_output="attention.output.dense",
        feed_forward_output="output.dense",
        key_value=("attention.self.key", "attention.self.value"),
        embed=_embed_electra,
        run=_run_bert,
        classify=_classify_first,
        type_ids=True,
        prefix=True,
    ),
    "distilbert": Family(
        blocks="transformer.layer",
        embeddings=("embeddings",),
        attention_output="attention.out_lin",
        feed_forward_output="ffn.lin2",
        key_value=("attention.k_lin", "attention.v_lin"),
        embed=_embed_plain,
        run=_run_bert,
        classify=_classify_distilbert,
        dropouts=("dropout", "attention_dropout"),
        head_dropout=("seq_classif_dropout",),
    ),
    "mpnet": Family(
        blocks="encoder.layer",
        embeddings=("embeddings", "encoder.relative_attention_bias"),
        attention_output="attention.attn.o",
        feed_forward_output="output.dense",
        key_value=("attention.attn.k", "attention.attn.v"),
        embed=_embed_plain,
        run=_run_mpnet,
        classify=_classify_first,
        head_dropout=("hidden_dropout_prob",),
        optional_pooler=True,
    ),
    "deberta-v2": Family(
        blocks="encoder.layer",
        embeddings=("embeddings", "encoder.rel_embeddings", "encoder.LayerNorm"),
        attention_output="attention.output.dense",
        feed_forward_output="output.dense",
        key_value=("attention.self.key_proj", "attention.self.value_proj"),
        embed=_embed_deberta,
        run=_run_deberta,
        classify=_classify_deberta,
        head_dropout=("cls_dropout", "hidden_dropout_prob"),
        conv="encoder.conv",
        type_ids=True,
    ),
    "modernbert": Family(
        blocks="layers",
        embeddings=("embeddings",),
        attention_output="attn.Wo",
        feed_forward_output="mlp.Wo",
        key_value=("attn.Wqkv",),
        embed=_embed_plain,
        run=_run_modernbert,
        classify=_classify_modernbert,
        dropouts=("attention_dropout", "mlp_dropout", "embedding_dropout"),
        head_dropout=("classifier_dropout",),
        final_norm="final_norm",
    ),
}


def family_of(config: Any, where: str = "") -> Family:
    """The row for a configuration's model_type, or a `ModelError` that lists the families."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ModelError(
            f"models of type {config.model_type!r} are not text encoders that Luthier knows.",
            where=where,
            remedy=f"Choose one of: {', '.join(FAMILIES)}.",
            code="unknown_family",
            param="model",
        )
    return family


def position_limit(config: Any) -> int:
    """The longest input in tokens; families after RoBERTa number positions from pad_token_id + 1."""
    offset = {
        "roberta": config.pad_token_id,
        "xlm-roberta": config.pad_token_id,
        "camembert": config.pad_token_id,
        "mpnet": 1,
    }.get(config.model_type)
    return int(config.max_position_embeddings) - (0 if offset is None else offset + 1)
