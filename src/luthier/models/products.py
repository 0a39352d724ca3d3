"""Matrix products by the library that is faster on this processor: torch's own BLAS, or oneDNN.

torch multiplies float32 by MKL, which leaves the AVX-512 units of other makers' processors alone; oneDNN, which torch
brings too, uses them. On an AMD EPYC with AVX-512, one thread, 1,600 tokens, all shapes of a 31 M and a 135 M Llama:
MKL 103 to 116 GFLOP/s, oneDNN 221 to 253 with weights as they are (`benchmarks/products.py`). With AVX2 only, MKL is
ahead.

The choice goes by what the processor is, never by a measurement: the same run must compute the same bits again.
None of these functions is differentiable. Shapes: M rows, K inputs, N outputs.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from luthier.models import onednn

_SMALLEST = 1 << 22
"""Multiplications; below, the call costs more than the product."""


def linear(x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """x W^T + b, [M, N]."""
    if _by_onednn(x_MK, weight_NK):
        return onednn.linear(x_MK, weight_NK, bias_N)
    return functional.linear(x_MK, weight_NK, bias_N)


def product(a_MK: Tensor, b_KN: Tensor) -> Tensor:
    """a b, [M, N]."""
    if _by_onednn(a_MK, b_KN):
        return onednn.linear(a_MK, b_KN.t())
    return a_MK @ b_KN


def add_product(base_MN: Tensor, a_MK: Tensor, b_KN: Tensor) -> Tensor:
    """base + a b, [M, N], in new memory."""
    if _by_onednn(a_MK, b_KN):
        return product(a_MK, b_KN).add_(base_MN)
    return torch.addmm(base_MN, a_MK, b_KN)


def product_into(a_MK: Tensor, b_KN: Tensor, out_MN: Tensor) -> Tensor:
    """a b, in `out_MN` or in new memory, whichever is faster; `out_MN` may be of higher precision."""
    if out_MN.dtype != a_MK.dtype:
        return out_MN.copy_(functional.linear(a_MK, b_KN.t()))
    if _by_onednn(a_MK, b_KN):
        return product(a_MK, b_KN)
    return torch.mm(a_MK, b_KN, out=out_MN)


def _by_onednn(a: Tensor, b: Tensor) -> bool:
    if not prefers_onednn() or a.dtype != torch.float32 or b.dtype != torch.float32 or a.device.type != "cpu":
        return False
    # the second factor is laid out anew for each call: from a slice of a wider matrix that takes sixty times as long
    return a.shape[0] * b.numel() >= _SMALLEST and (b.is_contiguous() or b.t().is_contiguous())


@cache
def prefers_onednn() -> bool:
    """Whether this processor has AVX-512 and is not of the maker for whom MKL is written."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "AuthenticAMD" in info
