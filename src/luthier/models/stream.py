"""The encoder over an unpadded stream of tokens, with a hand-derived backward: exact, and faster.

It reads the parameters of the stock modules (BERT, RoBERTa, ELECTRA and what shares their layer), so
saving, loading and export know nothing of it, and a model can be run either way at any time. One
autograd node per layer: query, key and value are one product, residuals are added by the products
themselves, nothing is padded but attention. Vaswani et al. 2017; Devlin et al. 2019 (post-norm).
Shapes: T tokens, D hidden width, F feed-forward width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from luthier.models.products import add_product
from luthier.models.stream_attention import StreamLayout, attention_backward, attention_forward
from luthier.models.stream_last import FirstTokenLayerFunction
from luthier.models.stream_layer import Layer
from luthier.models.task_model import TaskModel

MODEL_TYPES = ("bert", "roberta", "electra")


def supports(model: TaskModel) -> bool:
    """Whether `StreamEncoder` computes exactly what the model's own encoder does.

    fp32 on a CPU, GELU, no dropout in the encoder, and nothing inside it but plain linear layers
    with or without LoRA.
    """
    config = model.config
    if config.model_type not in MODEL_TYPES or model.precision != "fp32" or config.hidden_act != "gelu":
        return False
    if model.method.kind not in ("full", "head", "bitfit", "lora") or getattr(model.method, "dora", False):
        return False
    if getattr(model.method, "dropout", 0.0) or config.hidden_dropout_prob or config.attention_probs_dropout_prob:
        return False
    if config.is_decoder or next(model.parameters()).device.type != "cpu":
        return False
    return bool(getattr(config, "embedding_size", config.hidden_size) == config.hidden_size)


class _LayerFunction(torch.autograd.Function):
    """One block: x [T, D] -> [T, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, layout: StreamLayout, keep: bool, *trained: Tensor) -> Tensor:
        qkv, qkv_weight = layer.qkv.forward(x)
        context, heads, probabilities = attention_forward(qkv, layout, layer.heads)
        result, above = layer.above_attention(context, x)
        if keep:
            ctx.layer, ctx.layout = layer, layout
            ctx.kept = (x, heads, probabilities, qkv_weight, above)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        layer: Layer = ctx.layer
        x, heads, probabilities, qkv_weight, above = ctx.kept
        ctx.kept = None
        dcontext, dresidual, g_above = layer.above_attention_backward(dy, above)
        dqkv = attention_backward(dcontext, heads, probabilities, ctx.layout, layer.heads)
        g_qkv = layer.qkv.backward(dqkv, x)
        dx = add_product(dresidual, dqkv, qkv_weight) if ctx.needs_input_grad[0] else None
        return (dx, None, None, None, *g_qkv, *g_above)


class StreamEncoder:
    """Runs a `TaskModel`'s encoder on streams; built after the method was applied."""

    def __init__(self, model: TaskModel) -> None:
        self.model = model
        self.layers = [Layer(block, model.config.num_attention_heads) for block in model.layers]
        self.first_position = model.config.pad_token_id + 1 if model.config.model_type == "roberta" else 0

    def embed(self, ids_T: Tensor, types_T: Tensor, layout: StreamLayout, words_TD: Tensor | None = None) -> Tensor:
        """The input of the first block [T, D]; `words_TD` replaces the looked-up word vectors."""
        e: Any = self.model.embeddings
        words = e.word_embeddings(ids_T) if words_TD is None else words_TD
        hidden = words + e.token_type_embeddings(types_T)
        hidden = hidden + e.position_embeddings(layout.positions + self.first_position)
        result: Tensor = e.LayerNorm(hidden)
        return result

    def run(self, hidden_TD: Tensor, layout: StreamLayout, start: int = 0) -> Tensor:
        """Blocks `start` to the last."""
        for layer in self.layers[start:]:
            hidden_TD = self.run_one(hidden_TD, layer, layout)
        return hidden_TD

    def run_pooled(self, hidden_TD: Tensor, layout: StreamLayout, start: int = 0) -> Tensor:
        """`pool(run(...))`; where only first tokens are read, the last block is computed only there."""
        if self.model.task == "extract" or self.model.pooling == "mean" or start == len(self.layers):
            return self.pool(self.run(hidden_TD, layout, start), layout)
        for layer in self.layers[start:-1]:
            hidden_TD = self.run_one(hidden_TD, layer, layout)
        last = self.layers[-1]
        keep = torch.is_grad_enabled() and (hidden_TD.requires_grad or bool(last.trained))
        result: Tensor = FirstTokenLayerFunction.apply(hidden_TD, last, layout, keep, *last.trained)  # type: ignore[no-untyped-call]
        return result

    def run_one(self, hidden_TD: Tensor, layer: Layer, layout: StreamLayout) -> Tensor:
        """One block; what its backward needs is kept only when there will be one."""
        keep = torch.is_grad_enabled() and (hidden_TD.requires_grad or bool(layer.trained))
        result: Tensor = _LayerFunction.apply(  # type: ignore[no-untyped-call]
            hidden_TD, layer, layout, keep, *layer.trained
        )
        return result

    def pool(self, hidden_TD: Tensor, layout: StreamLayout) -> Tensor:
        """What `TaskModel.classify` reads: [B, D], or for extract the tokens [T, D] as one row [1, T, D]."""
        if self.model.task == "extract":
            return hidden_TD.unsqueeze(0)
        if self.model.pooling == "mean":
            rows = len(layout.lengths)
            if layout.index is None:
                return hidden_TD.view(rows, layout.longest, -1).mean(1)
            row_of = torch.repeat_interleave(torch.arange(rows), layout.lengths)
            sums = hidden_TD.new_zeros(rows, hidden_TD.shape[1]).index_add(0, row_of, hidden_TD)
            return sums / layout.lengths.unsqueeze(1)
        return hidden_TD[layout.starts]
