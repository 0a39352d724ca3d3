"""Gradients of a sum over tokens that is computed a chunk at a time, where each chunk's logits are there only once.

The forward adds them up, and the backward only scales them.
Shapes: N tokens, n of one chunk, D hidden width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luthier.models.products import product, product_into


class ChunkGradients:
    """With respect to hidden states [N, D], output matrix [V, D] and bias [V]: those that `ctx` needs.

    Sums over all tokens are kept in full precision.
    """

    def __init__(self, ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, gradients: bool) -> None:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        needs = [gradients and need for need in ctx.needs_input_grad[:3]]
        self.wanted = any(needs)
        self._weight, self._bias = weight, bias
        self._hidden = torch.empty_like(hidden) if needs[0] else None
        self._dweight = torch.zeros_like(weight, dtype=exact) if needs[1] else None
        self._dbias = torch.zeros_like(bias, dtype=exact) if bias is not None and needs[2] else None

    def add(self, here: slice, dlogits: Tensor, hidden: Tensor) -> None:
        """A chunk: its gradient of the logits [n, V] and its hidden states [n, D], in the matrix's precision."""
        if self._dbias is not None:
            self._dbias += dlogits.sum(0)
        dlogits = dlogits.to(self._weight.dtype)
        if self._hidden is not None:
            self._hidden[here] = product_into(dlogits, self._weight, self._hidden[here])
        if self._dweight is not None:
            self._dweight += product(dlogits.t(), hidden)

    def save(self, ctx: Any) -> None:
        """Keep them for `scaled`."""
        ctx.save_for_backward(
            self._hidden,
            None if self._dweight is None else self._dweight.to(self._weight.dtype),
            None if self._dbias is None or self._bias is None else self._dbias.to(self._bias.dtype),
        )


def scaled(ctx: Any, dsum: Tensor) -> list[Tensor | None]:
    """The kept gradients times the gradient of the sum."""
    return [None if gradient is None else gradient * dsum.to(gradient.dtype) for gradient in ctx.saved_tensors]
