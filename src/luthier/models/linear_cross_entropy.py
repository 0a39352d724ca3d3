"""Cross-entropy from hidden states and the output matrix, without the matrix of all logits.

A chunk of tokens at a time: logits, loss, and at once the gradients, which need nothing but these
logits; the backward only scales them. So memory does not grow with tokens x vocabulary (the idea of
Wijmans et al. 2024, "Cut Your Losses", and of Liger Kernel's fused loss).
Shapes: N tokens, D hidden width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from luthier.models.chunk_gradients import ChunkGradients, scaled
from luthier.models.products import product_into

CHUNK_BYTES = 64 << 20
"""Logits and probabilities of one chunk, together."""


def linear_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    weights_N: Tensor,
    *,
    softcap: float | None = None,
    chunk_tokens: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(sum of w_n * cross-entropy_n, how many targets of weight > 0 are predicted right).

    The sum is a differentiable scalar (hidden states, matrix and bias) in fp32, or fp64 for fp64
    inputs; the count is int64. `targets_N` int64 in [0, V); `softcap` c makes logits c * tanh(z / c)
    (Gemma 2). Pass only tokens that carry weight: the others cost as much and change nothing.
    """
    if chunk_tokens is None:
        wide = torch.promote_types(hidden_ND.dtype, torch.float32).itemsize
        chunk_tokens = max(1, CHUNK_BYTES // (2 * wide * weight_VD.shape[0]))
    chunk_tokens = min(chunk_tokens, max(1, len(targets_N)))
    loss, right = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, bias_V, targets_N, weights_N, softcap, chunk_tokens, torch.is_grad_enabled()
    )
    return loss, right


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weights: Tensor,
        softcap: float | None,
        chunk: int,
        gradients: bool,
    ) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        summed = ChunkGradients(ctx, hidden, weight, bias, gradients)
        loss = hidden.new_zeros((), dtype=exact)
        right = hidden.new_zeros((), dtype=torch.int64)
        # one pair of buffers for all chunks: fresh ones of this size cost page faults each time
        buffers = hidden.new_empty(2, chunk, weight.shape[0], dtype=exact)
        for begin in range(0, len(targets), chunk):
            here = slice(begin, begin + chunk)
            h, t, w = hidden[here].to(weight.dtype), targets[here, None], weights[here, None].to(exact)
            z, p = buffers[0, : len(t)], buffers[1, : len(t)]
            z = product_into(h, weight.t(), z)
            if bias is not None:
                z += bias
            if softcap is not None:
                z.div_(softcap).tanh_().mul_(softcap)
            torch.softmax(z, -1, out=p)
            below = z.gather(1, t).sub_(z.amax(-1, keepdim=True))
            # log softmax(z)_t = z_t - max(z) + log max(softmax(z)): one pass of exponentials, not two
            loss -= ((below + p.amax(-1, keepdim=True).log_()) * w).sum()
            highest = ((below == 0) & (w > 0)).view(-1).nonzero().view(-1)
            if len(highest):  # of several highest the first counts, or a constant model would be praised
                right += (z[highest].argmax(-1) == t[highest, 0]).sum()
            if not summed.wanted:
                continue
            # dloss/dz = w (softmax(z) - onehot(t)), times the softcap's slope 1 - (z / c)^2
            p.scatter_add_(1, t, p.new_full((1, 1), -1.0).expand_as(t)).mul_(w)
            if softcap is not None:
                p.mul_(z.div_(softcap).square_().neg_().add_(1.0))
            summed.add(here, p, h)
        summed.save(ctx)
        ctx.mark_non_differentiable(right)
        return loss, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return (*scaled(ctx, dloss), None, None, None, None, None)
