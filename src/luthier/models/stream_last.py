"""The last layer where only the first token of each row is read (the stock classification heads).

Everything but keys and values is computed at B rows instead of T tokens: of the layer's products ten
twelfths fall away, forward and backward, and the result is exactly the same.
Shapes: T tokens, B rows, L the longest, H heads, E head width, D = H E.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from luthier.models.products import add_product, product
from luthier.models.stream_attention import StreamLayout
from luthier.models.stream_layer import Layer


class FirstTokenLayerFunction(torch.autograd.Function):
    """One block read at the first tokens: x [T, D] -> [B, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, layout: StreamLayout, keep: bool, *trained: Tensor) -> Tensor:
        rows, longest, heads = len(layout.lengths), layout.longest, layer.heads
        kv, kv_weight = layer.kv.forward(x)
        first = x[layout.starts]
        q, q_weight = layer.q.forward(first)
        width = q.shape[1] // heads
        grid = layout.to_grid(kv).view(rows, longest, 2, heads, width)
        k, v = grid.permute(2, 0, 3, 1, 4).reshape(2, rows * heads, longest, width).unbind(0)
        queries = q.view(rows * heads, 1, width)
        scores = torch.bmm(queries, k.transpose(1, 2)).mul_(width**-0.5)
        if layout.bias is not None:
            scores.view(rows, heads, 1, longest).add_(layout.bias)
        p = torch.softmax(scores, -1)
        context = torch.bmm(p, v).view(rows, heads * width)
        result, above = layer.above_attention(context, first)
        if keep:
            ctx.layer, ctx.layout = layer, layout
            ctx.kept = (x, first, queries, k, v, p, kv_weight, q_weight, above)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        layer, layout = ctx.layer, ctx.layout
        x, first, queries, k, v, p, kv_weight, q_weight, above = ctx.kept
        ctx.kept = None
        rows, longest, heads, width = len(layout.lengths), layout.longest, layer.heads, queries.shape[-1]
        dabove, dresidual, g_above = layer.above_attention_backward(dy, above)
        dcontext = dabove.view(rows * heads, 1, width)
        dkv = torch.empty(2, rows * heads, longest, width)
        torch.bmm(p.transpose(1, 2), dcontext, out=dkv[1])
        dp = torch.bmm(dcontext, v.transpose(1, 2))
        ds = torch.ops.aten._softmax_backward_data(dp, p, -1, torch.float32).mul_(width**-0.5)
        torch.bmm(ds.transpose(1, 2), queries, out=dkv[0])
        dq = torch.bmm(ds, k).view(rows, heads * width)
        merged = dkv.view(2, rows, heads, longest, width).permute(1, 3, 0, 2, 4).reshape(rows * longest, -1)
        dkv_T2D = layout.from_grid(merged)
        g_q, g_kv = layer.q.backward(dq, first), layer.kv.backward(dkv_T2D, x)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = product(dkv_T2D, kv_weight)
            dx[layout.starts] += add_product(dresidual, dq, q_weight)
        return (dx, None, None, None, *g_q, *g_kv, *g_above)
