"""The parts of one stock block, as `stream` computes with them.

Shapes: T tokens, D hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from luthier.models.products import add_product, product
from luthier.models.stream_linear import FusedLinear, LinearPart


@dataclass(frozen=True, slots=True)
class _Norm:
    module: nn.LayerNorm

    @property
    def trained(self) -> list[nn.Parameter]:
        return [p for p in (self.module.weight, self.module.bias) if p.requires_grad]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m = self.module
        return torch.native_layer_norm(x, m.normalized_shape, m.weight, m.bias, m.eps)

    def backward(self, dy: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, list[Tensor]]:
        m = self.module
        needs = [True, m.weight.requires_grad, m.bias.requires_grad]
        dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
            dy, x, m.normalized_shape, mean, rstd, m.weight, m.bias, needs
        )
        return dx, [g for g, need in zip((dweight, dbias), needs[1:], strict=True) if need]


class Layer:
    """The parts of one stock block, and the order of its trained parameters."""

    def __init__(self, block: Any, heads: int) -> None:
        attention = block.attention
        self.heads = heads
        query, key, value = (LinearPart.of(m) for m in (attention.self.query, attention.self.key, attention.self.value))
        self.qkv = FusedLinear([query, key, value])
        self.q, self.kv = FusedLinear([query]), FusedLinear([key, value])
        self.out = FusedLinear([LinearPart.of(attention.output.dense)])
        self.norm1 = _Norm(attention.output.LayerNorm)
        self.up = FusedLinear([LinearPart.of(block.intermediate.dense)])
        self.down = FusedLinear([LinearPart.of(block.output.dense)])
        self.norm2 = _Norm(block.output.LayerNorm)
        self.trained = [
            *self.qkv.trained, *self.out.trained, *self.norm1.trained,
            *self.up.trained, *self.down.trained, *self.norm2.trained,
        ]  # fmt: skip

    def above_attention(self, context: Tensor, residual: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output projection, norm, feed-forward, norm: (result, what `above_attention_backward` needs)."""
        attended, out_weight = self.out.forward(context)
        attended.add_(residual)
        hidden, mean1, rstd1 = self.norm1.forward(attended)
        wide, up_weight = self.up.forward(hidden)
        active = functional.gelu(wide)
        narrow, down_weight = self.down.forward(active)
        narrow.add_(hidden)
        result, mean2, rstd2 = self.norm2.forward(narrow)
        weights = (out_weight, up_weight, down_weight)
        return result, (*weights, context, attended, mean1, rstd1, hidden, wide, active, narrow, mean2, rstd2)

    def above_attention_backward(self, dy: Tensor, kept: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """(gradient of the context, of the residual, of the trained parameters in their order)."""
        out_weight, up_weight, down_weight, context, attended, mean1, rstd1, hidden, wide, active, *top = kept
        narrow, mean2, rstd2 = top
        dnarrow, g_norm2 = self.norm2.backward(dy.contiguous(), narrow, mean2, rstd2)
        g_down = self.down.backward(dnarrow, active)
        dwide = torch.ops.aten.gelu_backward(product(dnarrow, down_weight), wide)
        g_up = self.up.backward(dwide, hidden)
        dhidden = add_product(dnarrow, dwide, up_weight)
        dattended, g_norm1 = self.norm1.backward(dhidden, attended, mean1, rstd1)
        g_out = self.out.backward(dattended, context)
        return product(dattended, out_weight), dattended, [*g_out, *g_norm1, *g_up, *g_down, *g_norm2]
