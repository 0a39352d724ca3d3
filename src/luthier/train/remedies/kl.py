"""KL divergence of next-token distributions from hidden states, without the matrix of all logits.

A chunk of tokens at a time, with the gradients at once, as in `models.linear_cross_entropy`.
Shapes: N tokens, D hidden width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from luthier.models.chunk_gradients import ChunkGradients, scaled

CHUNK_BYTES = 64 << 20
"""The six matrices of one chunk, together."""


def linear_kl(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    base_logits: Any,
    weights_N: Tensor,
    *,
    softcap: float | None = None,
    chunk_tokens: int | None = None,
) -> Tensor:
    """Sum of w_n * KL(base_n || tuned_n), in nats, differentiable in hidden states, matrix and bias.

    `base_logits(slice)` gives the base's float32 logits [n, V] of these tokens, soft-capped already.
    The gradient of a tuned logit is w (q - p), with p of the base and q of the tuned model (Hinton et al. 2015).
    """
    if chunk_tokens is None:
        chunk_tokens = max(1, CHUNK_BYTES // (6 * 4 * weight_VD.shape[0]))
    result: Tensor = _LinearKl.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, bias_V, base_logits, weights_N, softcap, chunk_tokens, torch.is_grad_enabled()
    )
    return result


class _LinearKl(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        base_logits: Any,
        weights: Tensor,
        softcap: float | None,
        chunk: int,
        gradients: bool,
    ) -> Tensor:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        summed = ChunkGradients(ctx, hidden, weight, bias, gradients)
        total = hidden.new_zeros((), dtype=exact)
        for begin in range(0, len(hidden), chunk):
            here = slice(begin, begin + chunk)
            h, w = hidden[here].to(weight.dtype), weights[here, None].to(exact)
            z = linear(h, weight, bias).to(exact)
            if softcap is not None:
                z = softcap * torch.tanh(z / softcap)
            log_q = torch.log_softmax(z, -1)
            log_p = torch.log_softmax(base_logits(here).to(exact), -1)
            p = log_p.exp()
            total += ((p * (log_p - log_q)).sum(-1, keepdim=True) * w).sum()
            if not summed.wanted:
                continue
            dz = (log_q.exp() - p) * w
            if softcap is not None:
                dz *= 1.0 - (z / softcap).square()
            summed.add(here, dz, h)
        summed.save(ctx)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dtotal: Tensor) -> tuple[Tensor | None, ...]:
        return (*scaled(ctx, dtotal), None, None, None, None, None)
