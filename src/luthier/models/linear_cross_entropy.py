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
from torch.nn import functional

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
        needs = [gradients and need for need in ctx.needs_input_grad[:3]]
        dhidden = torch.empty_like(hidden) if needs[0] else None
        # sums over all tokens are kept in full precision
        dweight = torch.zeros_like(weight, dtype=exact) if needs[1] else None
        dbias = torch.zeros_like(bias, dtype=exact) if bias is not None and needs[2] else None
        loss = hidden.new_zeros((), dtype=exact)
        right = hidden.new_zeros((), dtype=torch.int64)
        # one pair of buffers for all chunks: fresh ones of this size cost page faults each time
        buffers = hidden.new_empty(2, chunk, weight.shape[0], dtype=exact)
        for begin in range(0, len(targets), chunk):
            here = slice(begin, begin + chunk)
            h, t, w = hidden[here].to(weight.dtype), targets[here, None], weights[here, None].to(exact)
            z, p = buffers[0, : len(t)], buffers[1, : len(t)]
            _product(h, weight.t(), z)
            if bias is not None:
                z += bias
            if softcap is not None:
                z.div_(softcap).tanh_().mul_(softcap)
            torch.log_softmax(z, -1, out=p)
            loss -= (p.gather(1, t) * w).sum()
            right += ((z.argmax(-1, keepdim=True) == t) & (w > 0)).sum()
            if not any(needs):
                continue
            # dloss/dz = w (softmax(z) - onehot(t)), times the softcap's slope 1 - (z / c)^2
            p.exp_().scatter_add_(1, t, p.new_full((1, 1), -1.0).expand_as(t)).mul_(w)
            if softcap is not None:
                p.mul_(z.div_(softcap).square_().neg_().add_(1.0))
            if dbias is not None:
                dbias += p.sum(0)
            p = p.to(weight.dtype)
            if dhidden is not None:
                _product(p, weight, dhidden[here])
            if dweight is not None:
                if dweight.dtype == p.dtype:
                    torch.addmm(dweight, p.t(), h, out=dweight)
                else:
                    dweight += p.t() @ h
        ctx.save_for_backward(
            dhidden,
            None if dweight is None else dweight.to(weight.dtype),
            None if dbias is None or bias is None else dbias.to(bias.dtype),
        )
        ctx.mark_non_differentiable(right)
        return loss, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if g is None else g * dloss.to(g.dtype) for g in ctx.saved_tensors]
        return (*scaled, None, None, None, None, None)


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = a b; `out` may be of higher precision."""
    if out.dtype == a.dtype:
        torch.mm(a, b, out=out)
    else:
        out.copy_(functional.linear(a, b.t()))
