"""oneDNN's product of a matrix and a weight: the one place that calls it, and that bounds what it keeps.

oneDNN and torch's layer above it keep what they prepared for each shape, about 2 MiB for each, up to 1,024 of them.
Streams and prompts have another length each time, so a process grew by hundreds of MiB and used nothing of it again
(`benchmarks/products.py` measures it with and without the bound). Shapes: M rows, K inputs, N outputs.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

_KEPT_SHAPES = "64"
"""More than the shapes of one training step, or of a few steps of an engine; 128 made neither faster."""
for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_name, _KEPT_SHAPES)  # both are read at the first product


def linear(x_MK: Tensor, weight: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """x W^T + b, [M, N], float32 on a CPU and not differentiable; `weight` [N, K], or what `pack` made of it."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x_MK, weight, bias_N, "none", [], "")
    return y


def pack(weight_NK: Tensor, rows: int) -> Tensor:
    """The weight as oneDNN wants it for about `rows` rows: a copy that only `linear` can read."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_NK, rows)
    return packed
