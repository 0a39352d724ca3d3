"""How much memory this process has needed."""

from __future__ import annotations

import resource
import sys

import torch


def peak_memory_bytes() -> int:
    """The largest resident size so far; on a GPU the largest allocation of tensors there."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
