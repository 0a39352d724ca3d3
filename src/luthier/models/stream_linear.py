"""Linear layers with a hand-derived backward, for `stream`.

One `FusedLinear` stands for one or several stock ``nn.Linear`` that read the same input (query, key
and value): one matrix product instead of three. A LoRA pair on top (Hu et al. 2021) costs no extra
pass over the tokens in the forward: W + s B A is formed once per batch, which is cheaper than
pushing every token through A and B; the backward never forms the full weight gradient.
Shapes: T tokens, K inputs, N outputs, R rank.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier.models.products import linear, prefers_onednn, product


@dataclass(frozen=True, slots=True)
class LinearPart:
    """One stock linear layer, and its LoRA pair if it has one."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    lora_a: nn.Parameter | None = None
    lora_b: nn.Parameter | None = None
    scaling: float = 0.0

    @classmethod
    def of(cls, module: Any) -> LinearPart:
        """A stock linear layer or PEFT's LoRA layer around one."""
        if isinstance(module, nn.Linear):
            return cls(module.weight, module.bias)  # type: ignore[arg-type]
        base, name = module.get_base_layer(), module.active_adapters[0]
        pair = (module.lora_A[name].weight, module.lora_B[name].weight)
        return cls(base.weight, base.bias, *pair, module.scaling[name])

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that exist, trained or not."""
        return [item for item in (self.weight, self.bias, self.lora_a, self.lora_b) if item is not None]


class FusedLinear:
    """y = x W^T + b for the stacked parts; `forward` then `backward`, weights unchanged between."""

    def __init__(self, parts: list[LinearPart]) -> None:
        self.parts = parts
        self.trained = [p for part in parts for p in part.parameters if p.requires_grad]
        self._sizes = [part.weight.shape[0] for part in parts]

    def merged_weight(self) -> Tensor:
        """[N, K], with LoRA added; a view of the parameter itself where nothing has to be joined."""
        weights = [
            torch.addmm(part.weight, part.lora_b, part.lora_a, alpha=part.scaling)
            if part.lora_a is not None and part.lora_b is not None
            else part.weight
            for part in self.parts
        ]
        return weights[0] if len(weights) == 1 else torch.cat(weights)

    def merged_bias(self) -> Tensor | None:
        """[N], or None."""
        biases = [part.bias for part in self.parts]
        if biases[0] is None:
            return None
        return biases[0] if len(biases) == 1 else torch.cat([bias for bias in biases if bias is not None])

    def forward(self, x_TK: Tensor) -> tuple[Tensor, Tensor]:
        """([T, N], the weight [N, K] that `backward` needs again)."""
        weight = self.merged_weight()
        return linear(x_TK, weight, self.merged_bias()), weight

    def backward(self, dy_TN: Tensor, x_TK: Tensor) -> list[Tensor]:
        """Gradients of `trained`, in order."""
        if not self.trained:
            return []
        whole: Tensor | None = None
        if any(part.weight.requires_grad for part in self.parts):
            whole = product(dy_TN.t(), x_TK)
        sums: Tensor | None = None
        if any(part.bias is not None and part.bias.requires_grad for part in self.parts):
            sums = dy_TN.sum(0)
        pairs = self._lora_backward(dy_TN, x_TK)
        gradients: list[Tensor] = []
        begin = 0
        for index, (part, size) in enumerate(zip(self.parts, self._sizes, strict=True)):
            here = slice(begin, begin + size)
            begin += size
            if part.weight.requires_grad:
                assert whole is not None
                gradients.append(whole[here])
            if part.bias is not None and part.bias.requires_grad:
                assert sums is not None
                gradients.append(sums[here])
            if index in pairs:
                gradients.extend(pairs[index])
        return gradients

    def _lora_backward(self, dy_TN: Tensor, x_TK: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        """Per part (dA [R, K], dB [N, R]): s B^T dy^T x and s dy^T (x A^T)."""
        lora = [
            (index, part, part.lora_a, part.lora_b)
            for index, part in enumerate(self.parts)
            if part.lora_a is not None and part.lora_b is not None and part.lora_a.requires_grad
        ]
        if not lora:
            return {}
        down_TR = linear(x_TK, torch.cat([a for _, _, a, _ in lora]))
        rows = [slice(begin := sum(self._sizes[:index]), begin + self._sizes[index]) for index, *_ in lora]
        ends = list(itertools.accumulate(a.shape[0] for _, _, a, _ in lora))
        ranks = list(itertools.starmap(slice, itertools.pairwise([0, *ends])))
        gradients_b: list[Tensor] = []
        if len(lora) > 1 and prefers_onednn():
            # blocks that are not needed cost less than columns of a wider matrix, which oneDNN would copy
            blocks = dy_TN.new_zeros(dy_TN.shape[1], ends[-1])
            for (_, _, _, b), here, rank in zip(lora, rows, ranks, strict=True):
                blocks[here, rank] = b
            up_TR = product(dy_TN, blocks)
            every = product(down_TR.t(), dy_TN)
            gradients_b = [every[rank, here] for here, rank in zip(rows, ranks, strict=True)]
        else:
            up_TR = torch.empty_like(down_TR)
            for (_, _, _, b), here, rank in zip(lora, rows, ranks, strict=True):
                up_TR[:, rank] = product(dy_TN[:, here], b)
                gradients_b.append(product(down_TR[:, rank].t(), dy_TN[:, here]))  # thin side first: much faster
        gradient_a = product(up_TR.t(), x_TK)
        return {
            index: (gradient_a[rank].mul_(part.scaling), gradient_b.t().mul(part.scaling).contiguous())
            for (index, part, _, _), rank, gradient_b in zip(lora, ranks, gradients_b, strict=True)
        }
