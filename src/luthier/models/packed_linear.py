"""Linear layers of the causal stream: LoRA merged for one batch, or frozen weights packed for oneDNN.

Merging W + s B A costs a pass over the weights instead of two thin products over all tokens, and
nothing is kept: it is merged again in the backward. Packing lays a frozen matrix out as oneDNN wants
it, once for each direction, twice the matrix in memory; LoRA then takes the thin products. Which is
faster depends on processor, shape and thread count, so `prefer_packed` measures it.
Shapes: T tokens, K inputs, N outputs, R rank.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from luthier.models import onednn
from luthier.models.products import add_product, linear, product
from luthier.models.stream_linear import FusedLinear, LinearPart

MEASURED_TOKENS = 1024


class CausalLinear(FusedLinear):
    """y = x W^T + b for the stacked parts; the weights must not change between forward and backward."""

    def __init__(self, parts: list[LinearPart], *, prepack: bool = False) -> None:
        super().__init__(parts)
        self._packed: _Packed | None = None
        frozen = not any(part.weight.requires_grad for part in parts)
        rank = sum(part.lora_a.shape[0] for part in parts if part.lora_a is not None)
        if prepack and frozen and prefer_packed(parts[0].weight.shape[1], sum(self._sizes), rank, len(parts)):
            self._packed = _Packed(torch.cat([part.weight.detach() for part in parts]))

    @property
    def packed(self) -> bool:
        """Whether the frozen weights were packed."""
        return self._packed is not None

    def merged_weight(self) -> Tensor:
        """[N, K], with LoRA added, written in one pass; the parameter itself where nothing is to do."""
        if len(self.parts) == 1 and self.parts[0].lora_a is None:
            return self.parts[0].weight
        first = self.parts[0].weight
        merged = first.new_empty(sum(self._sizes), first.shape[1])
        for part, rows in zip(self.parts, merged.split(self._sizes), strict=True):
            if part.lora_a is None or part.lora_b is None:
                rows.copy_(part.weight)
            else:
                torch.addmm(part.weight, part.lora_b, part.lora_a, alpha=part.scaling, out=rows)
        return merged

    def apply(self, x_TK: Tensor, residual_TN: Tensor | None = None) -> Tensor:
        """[T, N], `residual_TN` added."""
        bias = self.merged_bias()
        if self._packed is None:
            weight = self.merged_weight()
            if residual_TN is None:
                return linear(x_TK, weight, bias)
            y = add_product(residual_TN, x_TK, weight.t())
            return y if bias is None else y.add_(bias)
        y = self._packed.forward(x_TK, bias)
        for part, columns in zip(self.parts, y.split(self._sizes, 1), strict=True):
            if part.lora_a is not None and part.lora_b is not None:
                columns.addmm_(x_TK @ part.lora_a.t(), part.lora_b.t(), alpha=part.scaling)
        return y if residual_TN is None else y.add_(residual_TN)

    def input_gradient(self, dy_TN: Tensor) -> Tensor:
        """[T, K]."""
        if self._packed is None:
            return product(dy_TN, self.merged_weight())
        dx = self._packed.backward(dy_TN)
        for part, columns in zip(self.parts, dy_TN.split(self._sizes, 1), strict=True):
            if part.lora_a is not None and part.lora_b is not None:
                dx.addmm_(columns @ part.lora_b, part.lora_a, alpha=part.scaling)
        return dx


class _Packed:
    """A frozen matrix in oneDNN's own layout, for both directions."""

    def __init__(self, weight_NK: Tensor) -> None:
        self._forward = onednn.pack(weight_NK, MEASURED_TOKENS)
        self._backward = onednn.pack(weight_NK.t().contiguous(), MEASURED_TOKENS)

    def forward(self, x_TK: Tensor, bias_N: Tensor | None) -> Tensor:
        return onednn.linear(x_TK, self._forward, bias_N)

    def backward(self, dy_TN: Tensor) -> Tensor:
        return onednn.linear(dy_TN.contiguous(), self._backward)


@cache
def prefer_packed(inputs: int, outputs: int, rank: int, parts: int) -> bool:
    """Whether packing beats merging for this shape here: forward and input gradient of 1,024 tokens.

    `rank` is the sum over the parts' LoRA pairs, 0 without LoRA. False where torch has no oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    with torch.no_grad():
        weight = torch.randn(outputs, inputs) * 0.02
        x, dy = torch.randn(MEASURED_TOKENS, inputs), torch.randn(MEASURED_TOKENS, outputs)
        a, b = torch.randn(max(rank, 1), inputs), torch.randn(outputs, max(rank, 1) // parts or 1)
        share = a[: b.shape[1]]
        packed = _Packed(weight)

        def with_packed() -> None:
            y, dx = packed.forward(x, None), packed.backward(dy)
            if rank:
                y.addmm_(x @ share.t(), b.t())
                dx.addmm_(dy @ b, share)

        def with_merged() -> None:
            x @ (torch.addmm(weight, b, share) if rank else weight).t()
            dy @ (torch.addmm(weight, b, share) if rank else weight)

        return _fastest(with_packed) < _fastest(with_merged) * 0.97


def _fastest(work: Callable[[], None], times: int = 4) -> float:
    """Seconds of the fastest of some runs: the others were disturbed."""
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
